/* Dirurl: addresses of directories, as people write them.  Pure. */
#ifndef CLIENT_DIRURL_H
#define CLIENT_DIRURL_H

/* The same address without the slash that people put behind a directory,
 * which no path has (N1); that of a root stays.  Freed by the caller; NULL:
 * memory is out. */
char *dirurl_plain(const char *url);

#endif
