#include "client/cli/display.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

bool display_is_terminal(void)
{
    const char *term = getenv("TERM");

    return isatty(STDERR_FILENO) &&
           (term == NULL || strcmp(term, "dumb") != 0);
}

static unsigned measure(const char *variable, bool rows, unsigned usual)
{
    struct winsize size;
    const char *text = getenv(variable);
    unsigned long given = text != NULL ? strtoul(text, NULL, 10) : 0;
    unsigned real;

    if (given > 0 && given < 10000) {
        return (unsigned)given;
    }
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0) {
        return usual;
    }
    real = rows ? size.ws_row : size.ws_col;
    return real > 0 ? real : usual;
}

unsigned display_width(void)
{
    unsigned columns = measure("COLUMNS", false, 80);

    /* The last column stays free: some terminals wrap behind it. */
    return columns > 20 ? columns - 1 : 79;
}

unsigned display_height(void)
{
    unsigned lines = measure("LINES", true, 24);

    return lines > DISPLAY_ROWS ? DISPLAY_ROWS : lines > 2 ? lines - 1 : 1;
}

bool display_log(struct display *display, const char *path)
{
    display->log = fopen(path, "ae");
    if (display->log != NULL) {
        (void)setvbuf(display->log, NULL, _IOLBF, 0);
    }
    return display->log != NULL;
}

void display_close(struct display *display)
{
    display_wipe(display);
    if (display->log != NULL) {
        (void)fclose(display->log);
        display->log = NULL;
    }
}

static void put_log(struct display *display, const char *name,
                    const char *text)
{
    char stamp[40] = "";
    struct timespec now;
    struct tm parts;

    if (clock_gettime(CLOCK_REALTIME, &now) == 0 &&
        gmtime_r(&now.tv_sec, &parts) != NULL) {
        (void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &parts);
    }
    fprintf(display->log, "%s %s%s%s\n", stamp, name != NULL ? name : "",
            name != NULL ? ": " : "", text);
}

void display_say(struct display *display, const char *name, const char *text)
{
    if (display->log != NULL) {
        put_log(display, name, text);
    }
    if (display->silent) {
        return;
    }
    display_wipe(display);
    fprintf(stderr, "belay: %s%s%s\n", name != NULL ? name : "",
            name != NULL ? ": " : "", text);
}

void display_wipe(struct display *display)
{
    if (display->drawn == 0) {
        return;
    }
    if (display->drawn > 1) {
        fprintf(stderr, "\r\033[%uA\033[J", display->drawn - 1);
    } else {
        fputs("\r\033[K", stderr);
    }
    display->drawn = 0;
}

void display_draw(struct display *display,
                  char rows[DISPLAY_ROWS][PROGRESS_TEXT], unsigned count)
{
    char block[DISPLAY_ROWS * (PROGRESS_TEXT + 8) + 32];
    size_t at = 0;

    /* In one piece, so that nobody sees half of it. */
    if (display->drawn > 1) {
        at = (size_t)snprintf(block, sizeof block, "\r\033[%uA",
                              display->drawn - 1);
    }
    for (unsigned k = 0; k < count; k++) {
        at += (size_t)snprintf(block + at, sizeof block - at, "%s\033[K%s",
                               k == 0 ? "\r" : "\n", rows[k]);
    }
    if (display->drawn > count) {
        at += (size_t)snprintf(block + at, sizeof block - at, "\033[J");
    }
    (void)fwrite(block, 1, at, stderr);
    display->drawn = count;
}
