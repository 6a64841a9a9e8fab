/* SPDX-License-Identifier: MIT
 * The scripts know nothing: they hand over the line up to the cursor, and get a
 * candidate a line, with a TAB and what it means; ":files" for names of files. Verbs
 * are those of the table that the proxy of this version has; names of app servers,
 * pools and so on are asked of the proxy that runs, quickly or not at all. */
#include "deploy/banyan/completion.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "deploy/banyan/channel.h"
#include "deploy/banyan/commands.h"
#include "deploy/banyan/completion_words.h"
#include "deploy/banyan/identity.h"
#include "deploy/banyan/proxies.h"
#include "deploy/banyan/talk.h"
#include "protocol/base/mem.h"

enum { EXIT_USAGE = 2, MOST_WORDS = 64, PATIENCE_US = 500 * 1000 };

static const struct completion_row VERBS[] = {
#define VERB(words, role, effect, least, most, keys, arguments, help, function)        \
    {words, arguments, help},
#include "proxy/admin/verbs.def"
#undef VERB
};

/* Before a verb, or behind it. */
enum { OPTION_PROXY, OPTION_KEY, OPTION_PROXY_KEY, OPTIONS_COUNT = 6 };
static const struct {
    const char *name, *help;
    bool has_value, is_file;
} OPTIONS[OPTIONS_COUNT] = {
    [OPTION_PROXY] = {"--proxy", "control endpoint of a proxy; repeatable", true, true},
    [OPTION_KEY] = {"--key", "your secret key file, for tcp://", true, true},
    [OPTION_PROXY_KEY] = {"--proxy-key", "the proxies' public key, or a file with it",
                          true, true},
    {"--json", "answer in JSON", false, false},
    {"--timeout", "seconds to wait for at most", true, false},
    {"--ephemeral", "leave the change out of the state file", false, false},
};

/* Where a proxy has the names. */
static const struct {
    const char *line, *table, *key, *help;
} SOURCES[] = {
    [COMPLETE_BACKENDS] = {"--json show backends", "backends", "backend", "health"},
    [COMPLETE_POOLS] = {"--json show pools", "pools", "pool", "state"},
    [COMPLETE_REQUESTS] = {"--json show requests", "requests", "id", "target"},
    [COMPLETE_CLIENTS] = {"--json show clients", "clients", "id", "address"},
    [COMPLETE_KEYS] = {"--json show config", "config", "key", "value"},
    [COMPLETE_SETTINGS] = {"--json show config", "config", "key", "value"},
};

struct line {
    struct slice words[MOST_WORDS]; /* behind the program, without options */
    size_t count;
    struct slice current; /* what stands at the cursor; may be empty */
    int option;           /* whose value that is; -1: of none */
    struct proxies proxies;
    char *key, *proxy_key; /* owned; NULL: not given */
    struct buf said;       /* candidates, each with a line's end before and behind it */
};

/* ---- the line ---- */

static int find_option(struct slice word)
{
    for (int i = 0; i < OPTIONS_COUNT; i++)
        if (slice_eq(word, slice_from(OPTIONS[i].name)))
            return i;
    return -1;
}

static void take_value(struct line *l, int option, struct slice value)
{
    own(mem) char *text = mem_printf("%.*s", SLICE_FMT(value));
    char **kept = option == OPTION_KEY         ? &l->key
                  : option == OPTION_PROXY_KEY ? &l->proxy_key
                                               : NULL;
    if (option == OPTION_PROXY)
        (void)!proxies_add(&l->proxies, text);
    if (kept != NULL) {
        mem_free(kept);
        *kept = take(text);
    }
}

/* "--proxy=PATH" and "--proxy PATH" alike. */
static void take_word(struct line *l, struct slice word)
{
    const char *is = memchr(word.ptr, '=', word.len);
    struct slice name =
        slice_of(word.ptr, is == NULL ? word.len : (size_t)(is - word.ptr));
    int option = find_option(name);
    if (l->option >= 0) {
        take_value(l, l->option, word);
        l->option = -1;
    } else if (option >= 0 && is != NULL) {
        take_value(l, option, slice_of(is + 1, word.len - name.len - 1));
    } else if (option >= 0 && OPTIONS[option].has_value) {
        l->option = option;
    } else if ((word.len < 2 || memcmp(word.ptr, "--", 2) != 0) &&
               l->count < MOST_WORDS) {
        l->words[l->count++] = word;
    }
}

/* The last word is at the cursor, the first one the program. */
static void read_line(struct line *l, const char *text)
{
    bool is_first = true;
    for (;;) {
        text += strspn(text, " \t");
        size_t length = strcspn(text, " \t");
        if (text[length] == '\0') {
            l->current = slice_of(text, length);
            return;
        }
        if (!is_first)
            take_word(l, slice_of(text, length));
        is_first = false;
        text += length;
    }
}

/* ---- candidates ---- */

static void say(struct line *l, struct slice text, const char *end, const char *help)
{
    struct slice now = l->current;
    own(mem) char *whole = mem_printf("\n%.*s%s\t", SLICE_FMT(text), end);
    size_t length = strlen(whole);
    struct slice said = buf_slice(&l->said);
    bool has_begun = length - 2 >= now.len && memcmp(whole + 1, now.ptr, now.len) == 0;
    /* Of "weight=" all is there; a value comes. */
    bool is_whole = length - 2 == now.len && whole[length - 2] == '=';
    if (!has_begun || is_whole ||
        (said.len > 0 && memmem(said.ptr, said.len, whole, length) != NULL))
        return;
    buf_addf(&l->said, "%s%s", whole, help == NULL ? "" : help);
}

static void on_word(void *owner, struct slice text, const char *help)
{
    say(owner, text, "", help);
}

/* What the first of the proxies says in time. */
static json_t *ask(struct line *l, const char *text)
{
    static struct identity identity;
    struct talk talk;
    struct buf message;
    json_t *answer = NULL;
    buf_init(&message, 0);
    if (proxies_find(&l->proxies, &message) &&
        identity_take(&identity, &l->proxies, l->key, l->proxy_key, &message)) {
        talk_begin(&talk, l->proxies.addresses[0], slice_from(text));
        talks_listen(&talk, 1, PATIENCE_US, PATIENCE_US);
        struct slice out = buf_slice(&talk.out);
        if (talk.code == TALK_DONE && out.len > 0)
            answer = json_loadb(out.ptr, out.len, 0, NULL);
        talk_fini(&talk);
    }
    identity_wipe(&identity);
    buf_fini(&message);
    return answer;
}

static void on_kind(void *owner, enum completion_kind kind)
{
    struct line *l = owner;
    if (kind == COMPLETE_FILES) {
        buf_addf(&l->said, "\n:files\t");
        return;
    }
    json_t *answer = ask(l, SOURCES[kind].line);
    const json_t *rows = json_object_get(answer, SOURCES[kind].table);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *name = json_string_value(json_object_get(row, SOURCES[kind].key));
        const char *help = json_string_value(json_object_get(row, SOURCES[kind].help));
        const char *can = json_string_value(json_object_get(row, "changeable"));
        bool is_setting = kind == COMPLETE_SETTINGS;
        if (name != NULL && (!is_setting || (can != NULL && strcmp(can, "yes") == 0)))
            say(l, slice_from(name), is_setting ? "=" : "", help);
    }
    json_decref(answer);
}

/* ---- what may stand there ---- */

static bool is_option(const struct line *l)
{
    return l->current.len > 0 && l->current.ptr[0] == '-';
}

static const struct command *find_command(const struct line *l)
{
    for (size_t i = 0; l->count > 0 && i < command_count; i++)
        if (slice_eq(l->words[0], slice_from(commands[i].name)))
            return &commands[i];
    return NULL;
}

static void complete_command(struct line *l, const struct command *command)
{
    const struct option_table *table = command->options;
    const struct completion_row row = {command->name, command->arguments,
                                       command->help};
    const struct completion_sink sink = {l, on_word, on_kind};
    for (size_t i = 0; table != NULL && is_option(l) && i < table->row_count; i++) {
        own(mem) char *name = mem_printf("--%s", table->rows[i].name);
        say(l, slice_from(name), "", table->rows[i].help);
    }
    if (!is_option(l))
        completion_find(&row, 1, l->words, l->count, &sink);
}

static void complete_verb(struct line *l)
{
    const struct completion_sink sink = {l, on_word, on_kind};
    if (l->option >= 0) {
        if (OPTIONS[l->option].is_file)
            on_kind(l, COMPLETE_FILES);
        return;
    }
    for (size_t i = 0; is_option(l) && i < OPTIONS_COUNT; i++)
        say(l, slice_from(OPTIONS[i].name), "", OPTIONS[i].help);
    for (size_t i = 0; l->count == 0 && i < command_count; i++)
        say(l, slice_from(commands[i].name), "", commands[i].help);
    completion_find(VERBS, sizeof VERBS / sizeof VERBS[0], l->words, l->count, &sink);
}

static int print_candidates(const char *text)
{
    static struct line line = {.option = -1};
    proxies_init(&line.proxies);
    buf_init(&line.said, 0);
    read_line(&line, text);
    const struct command *command = find_command(&line);
    if (command != NULL)
        complete_command(&line, command);
    else
        complete_verb(&line);
    struct slice said = buf_slice(&line.said);
    if (said.len > 0)
        (void)printf("%.*s\n", (int)said.len - 1, said.ptr + 1);
    proxies_fini(&line.proxies);
    mem_free(&line.key);
    mem_free(&line.proxy_key);
    buf_fini(&line.said);
    channel_end();
    return 0;
}

/* ---- the scripts ---- */

/* Readline ends words at = and : as well, and wants what stands behind the last one. */
static const char BASH[] =
    "# bash completion of banyan, from `banyan completion bash`.\n"
    "_banyan() {\n"
    "    local line=${COMP_LINE:0:COMP_POINT} text word cut\n"
    "    word=${line##*[[:blank:]]}\n"
    "    cut=${word%\"${word##*[=:]}\"}\n"
    "    COMPREPLY=()\n"
    "    while IFS=$'\\t' read -r text _; do\n"
    "        case $text in\n"
    "        :files)\n"
    "            compopt -o filenames\n"
    "            mapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY "
    "< <(compgen -f -- \"$word\")\n"
    "            ;;\n"
    "        *)\n"
    "            [[ $text != *= ]] || compopt -o nospace\n"
    "            COMPREPLY+=(\"${text#\"$cut\"}\")\n"
    "            ;;\n"
    "        esac\n"
    "    done < <(\"${COMP_WORDS[0]/#\\~/$HOME}\" completion candidates \"$line\" "
    "2>/dev/null)\n"
    "}\n"
    "complete -F _banyan banyan\n";

static const char ZSH[] =
    "#compdef banyan\n"
    "# zsh completion of banyan, from `banyan completion zsh`.\n"
    "_banyan() {\n"
    "    local line=\"${(j: :)words[1,CURRENT-1]} $PREFIX\" text help ret=1\n"
    "    local -a whole open\n"
    "    while IFS=$'\\t' read -r text help; do\n"
    "        case $text in\n"
    "        :files) _files && ret=0 ;;\n"
    "        *=) open+=(\"$text\") ;;\n"
    "        *) whole+=(\"${text//:/\\\\:}:$help\") ;;\n"
    "        esac\n"
    "    done < <(${~words[1]} completion candidates \"$line\" 2>/dev/null)\n"
    "    (( ${#whole} )) && _describe banyan whole && ret=0\n"
    "    (( ${#open} )) && compadd -S '' -- \"${open[@]}\" && ret=0\n"
    "    return ret\n"
    "}\n"
    "if [[ ${funcstack[1]} == _banyan ]]; then\n"
    "    _banyan \"$@\"\n"
    "else\n"
    "    compdef _banyan banyan\n"
    "fi\n";

int completion_main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "candidates") == 0)
        return print_candidates(argv[2]);
    if (argc == 2 && strcmp(argv[1], "bash") == 0)
        return fputs(BASH, stdout) < 0;
    if (argc == 2 && strcmp(argv[1], "zsh") == 0)
        return fputs(ZSH, stdout) < 0;
    (void)fprintf(stderr, "Usage: banyan completion bash|zsh\n\n"
                          "  bash: source <(banyan completion bash)\n"
                          "  zsh:  source <(banyan completion zsh)\n");
    return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : EXIT_USAGE;
}
