/* Display: what a person sees on standard error, and the log file.
 *
 * On a terminal the last lines are a block that is drawn again and again:
 * one line for a single file, else one for each file at work and a line of
 * totals.  Messages go above it.  No colours are used, so NO_COLOR has nothing
 * to turn off.
 *
 * Not thread-safe: the engine's thread. */
#ifndef CLIENT_CLI_DISPLAY_H
#define CLIENT_CLI_DISPLAY_H

#include <stdbool.h>
#include <stdio.h>

#include "client/cli/progress.h"

/* Lines of the block, the totals included. */
#define DISPLAY_ROWS 10u

struct display {
    FILE *log;      /* NULL: none */
    bool silent;    /* standard error belongs to somebody else */
    unsigned drawn; /* lines of the block on the screen */
};

/* May a block be drawn on standard error? */
bool display_is_terminal(void);

/* Opens the log file: each message gets a line with the time in it. */
bool display_log(struct display *display, const char *path);
void display_close(struct display *display);

/* Prints "belay: NAME: TEXT", or without the name when it is NULL. */
void display_say(struct display *display, const char *name,
                 const char *text);
/* Draws the block of `count` <= DISPLAY_ROWS lines in place of the last. */
void display_draw(struct display *display,
                  char rows[DISPLAY_ROWS][PROGRESS_TEXT], unsigned count);
/* Takes the block away. */
void display_wipe(struct display *display);
/* Columns that a line may take. */
unsigned display_width(void);
/* Lines that a block may take. */
unsigned display_height(void);

#endif
