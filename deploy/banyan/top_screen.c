/* SPDX-License-Identifier: MIT
 *
 *   banyan top - 14:07:31, every 1 s  proxies 2/2  backends 7  123.0 req/s  0.0 err/s
 *   proxies that are not there
 *   pools, at most a third of the screen
 *   backends
 *   which of them, in which order; keys
 */
#include "deploy/banyan/top_screen.h"

#include <curses.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PAIR_BAD = 1, PAIR_ASIDE, ESCAPE_MS = 25 };

static SCREEN *screen;

bool top_screen_open(void)
{
    (void)setlocale(LC_ALL, "");
    screen = newterm(NULL, stdout, stdin);
    if (screen == NULL)
        return false;
    (void)cbreak();
    (void)noecho();
    (void)curs_set(0);
    (void)set_escdelay(ESCAPE_MS);
    nodelay(stdscr, TRUE);
    keypad(stdscr, TRUE);
    if (has_colors()) {
        (void)start_color();
        (void)use_default_colors();
        (void)init_pair(PAIR_BAD, COLOR_RED, -1);
        (void)init_pair(PAIR_ASIDE, COLOR_YELLOW, -1);
    }
    return true;
}

void top_screen_close(void)
{
    if (screen == NULL)
        return;
    (void)endwin();
    delscreen(screen);
    screen = NULL;
}

/* ---- drawing ---- */

static void put(int line, chtype look, const char *text)
{
    if (line >= LINES)
        return;
    (void)attrset((int)look);
    (void)mvaddnstr(line, 0, text, COLS);
    if ((look & A_REVERSE) != 0)
        for (int x = getcurx(stdscr); getcury(stdscr) == line && x < COLS; x++)
            (void)mvaddch(line, x, ' ' | look);
    (void)attrset(A_NORMAL);
}

static void put_buf(int line, chtype look, struct buf *text)
{
    buf_add(text, slice_of("", 1));
    put(line, look, buf_slice(text).ptr);
    buf_clear(text);
}

static chtype look_of(enum top_mark mark)
{
    static const chtype looks[] = {
        [TOP_FINE] = A_NORMAL,
        [TOP_ASIDE] = COLOR_PAIR(PAIR_ASIDE),
        [TOP_BAD] = COLOR_PAIR(PAIR_BAD) | A_BOLD,
    };
    return looks[mark];
}

/* From its row `first` on; the line below it. */
static int put_table(
    const struct top_table *t, int line, int lines, uint32_t first, struct buf *text)
{
    top_table_head(t, text);
    put_buf(line++, A_REVERSE, text);
    for (uint32_t i = first; i < t->count && lines > 0; i++, lines--) {
        top_table_line(t, i, text);
        put_buf(line++, look_of(top_table_mark(t, i)), text);
    }
    return line;
}

static void put_title(const struct top_view *v, struct buf *text)
{
    char at[16];
    time_t now = time(NULL);
    struct tm tm;
    size_t seen = 0;
    for (size_t i = 0; i < v->proxy_count; i++)
        seen += v->proxies[i].now.at_us != 0;
    (void)localtime_r(&now, &tm);
    (void)strftime(at, sizeof at, "%H:%M:%S", &tm);
    buf_addf(text,
             "banyan top - %s, every %g s  proxies %zu/%zu  backends %u  %.1f req/s  "
             "%.1f err/s",
             at, v->interval_s, seen, v->proxy_count, v->backends->count,
             v->pools->requests, v->backends->errors);
    put_buf(0, A_BOLD, text);
}

static int put_lost(const struct top_view *v, int line, struct buf *text)
{
    for (size_t i = 0; i < v->proxy_count; i++) {
        const struct top_proxy *p = &v->proxies[i];
        if (p->complaint == NULL || line >= LINES / 4 + 1)
            continue;
        buf_addf(text, "%s: %s", p->path, p->complaint);
        put_buf(line++, look_of(TOP_BAD), text);
    }
    return line;
}

void top_screen_draw(struct top_view *v)
{
    struct buf text;
    buf_init(&text, 0);
    (void)erase();
    put_title(v, &text);
    int line = put_lost(v, 1, &text);
    top_table_fit(v->pools, (unsigned)COLS);
    top_table_fit(v->backends, (unsigned)COLS);
    line = put_table(v->pools, line, LINES / 3, 0, &text);
    int lines = LINES - line - 2; /* heading and keys */
    uint32_t room = lines > 0 ? (uint32_t)lines : 0;
    uint32_t last = v->backends->count > room ? v->backends->count - room : 0;
    v->scroll = v->scroll < last ? v->scroll : last;
    (void)put_table(v->backends, line, lines, v->scroll, &text);
    uint32_t count = v->backends->count, shown = count < room ? count : room;
    buf_addf(&text,
             "%u-%u of %u by %s%s  q quit  < > sort by  r reverse  arrows scroll  "
             "space now",
             v->scroll + (shown > 0), v->scroll + shown, count,
             top_column_head(TOP_BACKENDS, v->order.column),
             v->order.is_reverse ? " reversed" : "");
    put_buf(LINES - 1, A_DIM, &text);
    (void)refresh();
    buf_fini(&text);
}

/* ---- keys ---- */

static void sort_by(struct top_view *v, int step)
{
    unsigned count = top_column_count(TOP_BACKENDS);
    v->order.column = (v->order.column + count + (unsigned)step) % count;
    v->order.is_reverse = top_column_is_number(TOP_BACKENDS, v->order.column);
}

static void scroll_by(struct top_view *v, int lines)
{
    bool is_above = lines < 0 && v->scroll < (uint32_t)-lines;
    v->scroll = is_above ? 0 : v->scroll + (uint32_t)lines;
}

enum top_key top_screen_key(struct top_view *v)
{
    switch (getch()) {
    case ERR:
        return TOP_KEY_NONE;
    case 'q':
    case 'Q':
        return TOP_KEY_QUIT;
    case ' ':
        return TOP_KEY_REFRESH;
    case '<':
    case KEY_LEFT:
        sort_by(v, -1);
        break;
    case '>':
    case KEY_RIGHT:
        sort_by(v, 1);
        break;
    case 'r':
        v->order.is_reverse = !v->order.is_reverse;
        break;
    case KEY_UP:
        scroll_by(v, -1);
        break;
    case KEY_DOWN:
        scroll_by(v, 1);
        break;
    case KEY_PPAGE:
        scroll_by(v, -LINES / 2);
        break;
    case KEY_NPAGE:
        scroll_by(v, LINES / 2);
        break;
    case KEY_HOME:
        v->scroll = 0;
        break;
    case KEY_END:
        v->scroll = UINT32_MAX / 2;
        break;
    default: /* KEY_RESIZE among them */
        break;
    }
    return TOP_KEY_CHANGED;
}
