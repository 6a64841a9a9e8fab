/* SPDX-License-Identifier: MIT
 * What the files of proxy/admin share: the admin, its connections, its operations. */
#ifndef ADMIN_ADMIN_PRIV_H
#define ADMIN_ADMIN_PRIV_H

#include "protocol/base/queue.h"
#include "protocol/key.h"
#include "proxy/admin/admin.h"
#include "proxy/admin/command.h"
#include "proxy/admin/journal.h"
#include "proxy/admin/members.h"
#include "proxy/admin/report.h"
#include "proxy/bind_set.h"

struct admin_client;
struct edit;
struct names;
struct event;

enum {
    ADMIN_MAGIC = 0xad314000,
    ADMIN_CLIENT_MAGIC = 0xad314001,
    OPERATION_MAGIC = 0xad314002,
    ADMIN_MAX_EDGES = 64,
    ADMIN_MAX_OPTIONS = 128,
    ADMIN_MAX_CLIENTS = 64, /* of all sockets; of a remote endpoint */
    ADMIN_MAX_APPS = 1024,  /* registering ones, of a remote endpoint */
    ADMIN_MAX_LINE = 8 * 1024,
    ADMIN_MAX_OUTPUT =
        32 * 1024 * 1024, /* that a client does not read: it is cut off */
    LOOK_FIRST_US = 1000, /* until an operation looks again, twice as long each time */
    LOOK_AGAIN_US = 10 * 1000, /* and at most so long */
};

struct admin {
    uint32_t magic;
    struct admin_options options;
    struct members members;
    struct members saved; /* what the state file has; without one: unused */
    struct buf saved_text;
    char *state_file;    /* owned: a reload may forget it; NULL: none */
    struct names *names; /* NULL: no edge has heard of anything yet */
    struct journal journal;
    struct proxy_options live; /* as they are in force */
    uint64_t started_us;
    bool is_edge_stopped[ADMIN_MAX_EDGES];
    uint64_t operation_ids, client_ids;
    struct list operations;
    /* upgrade.c */
    struct operation *upgrade; /* the verb that waits; NULL: none */
    bool is_frozen;            /* another process decides: before we serve, and after */
    /* listen.c */
    struct bind_set *controls, *metrics;
    struct list listeners;
    const struct proxy_options *prepared;
    bool is_listening;
    struct event *remote_retry;
    unsigned remote_tries;
    /* server.c */
    struct list clients; /* of remote.c, too */
    uint32_t connection_count;
    /* remote.c */
    struct list remotes;
    uint64_t remote_closed_us;           /* when the last one was; 0: never */
    struct link_context *remote_context; /* NULL: there are none */
    /* register.c */
    struct event *lease_timer;
    uint64_t lease_due_us; /* 0: nobody has one */
    /* metrics.c */
    struct list metrics_clients;
    uint32_t metrics_client_count;
};

/* How lines come from somebody, and answers go there. */
struct admin_carrier {
    /* client->out has something, or the client is ending: it leaves with a later turn,
     * then admin_client_written. */
    void (*write)(struct admin_client *client);
    /* There is room in client->in again. */
    void (*read)(struct admin_client *client);
    /* Tries to get rid of client->out now. */
    void (*flush)(struct admin_client *client);
    /* Ends the connection and frees what the client is a part of. */
    void (*free)(struct admin_client *client);
};

struct admin_client {
    uint32_t magic;
    uint64_t id; /* never used again */
    struct node node;
    struct admin *admin;
    const struct admin_carrier *carrier;
    enum role role;
    char who[MEMBER_WHO]; /* "uid 1000 pid 4242" */
    char key[KEY_TEXT];   /* public; empty: it needs none */
    char refused[64];     /* an app server's last complaint, told once */
    struct buf in, out;
    struct operation *operation; /* NULL: none runs; further lines wait */
    bool is_eof;                 /* it sends no more */
    bool is_ending;              /* closed when its output is written */
};

/* One line being followed. */
struct operation {
    uint32_t magic;
    uint64_t id;
    struct node node;
    struct admin *admin;
    struct admin_client *client; /* NULL: it left; the operation goes on */
    void *owner;                 /* of one that is no operator's line */
    enum role role;
    char who[MEMBER_WHO], key[KEY_TEXT]; /* the client's */
    char line[256];                      /* clipped, for the audit */
    struct command command;
    struct report report;
    struct buf complaint; /* why it is refused */
    uint64_t begun_us, deadline_us;

    /* looking at the edges */
    void (*step)(struct operation *op), (*again)(struct operation *op);
    unsigned parts;
    uint32_t awaited;                            /* edges that have not answered */
    struct snapshot *snapshots[ADMIN_MAX_EDGES]; /* NULL: that edge has ended */
    struct event *timer;
    suseconds_t pause_us; /* the last one before it looked again */

    /* the verbs' own */
    char pool[MEMBER_NAME], name[MEMBER_NAME]; /* the one that it is about */
    char full_name[MEMBER_FULL_NAME];
    struct members *before; /* add: what was known of it; owned; NULL: nothing kept */
    uint64_t seen;          /* show events: the last that was told */
    bool is_listening;      /* to events */
    bool is_queue_only;     /* show queue */
    bool is_forced;         /* remove ... force */
    bool has_changed;       /* by operation_commit */
    bool is_quiet;          /* it changed nothing, and is in no audit */
    int save_error;         /* errno */
    char what[MEMBER_WHO];
    uint64_t until_us;
};

/* ---- operation.c ---- */
/* The verb finishes it at once, or looks. `line` without its end. */
void operation_start(struct admin_client *client, struct slice line);
/* For looking at the edges only; step frees it. */
MUST_CHECK struct operation *operation_for(struct admin *admin, void *owner);
/* Orders a snapshot of every edge, with `parts` beyond the usual; `step` runs when all
 * are there, and finishes the operation or looks again. */
void operation_look(struct operation *op,
                    unsigned parts,
                    void (*step)(struct operation *));
void operation_look_again(struct operation *op); /* the same after a pause */
bool operation_is_late(const struct operation *op);
/* Answers and frees it. */
void operation_finish(struct operation *op, enum outcome outcome);
/* Answers REFUSED with this text, and frees it. */
void operation_refuse(struct operation *op, const char *format, ...) PRINTF_LIKE(2, 3);
void operation_refuse_unsaved(struct operation *op); /* with errno of the write */
/* A change by who said this line. False: it could not be written, and is refused. */
void operation_edit(struct operation *op, struct edit *e);
MUST_CHECK bool operation_commit(struct operation *op, struct edit *e);
/* Nobody will hear of it: frees what only waits to be told things. */
void operation_client_left(struct operation *op);
void operation_free(struct operation **op_p);

/* ---- admin.c ---- */
void admin_order(struct admin *admin, const struct edge_order *order); /* to all */
int64_t admin_now_ms(void);                                            /* Unix time */
void admin_order_member(struct admin *admin,
                        const struct member *m,
                        enum edge_order_kind kind);         /* likewise */
struct edge_tuning admin_tuning(const struct admin *admin); /* of admin->live */
/* An event for `show events`. */
void admin_note(struct admin *admin,
                const char *by,
                const char *object,
                const char *text);
/* Writes admin->saved; false: errno, and it is as it was written last. */
MUST_CHECK bool admin_write_saved(struct admin *admin);
/* Writes all of the model down. False: errno. */
MUST_CHECK bool admin_save(struct admin *admin);

/* ---- config.c ---- */
/* These options are in force, but for what `set` has changed. */
void admin_set_options(struct admin *admin, const struct proxy_options *options);
/* Of the state file: into admin->live. False: ret_message says what is wrong with it.
 */
MUST_CHECK bool admin_use_setting(struct admin *admin,
                                  const struct setting *setting,
                                  struct buf *ret_message);
/* ---- listen.c ---- */
void admin_close_listeners(struct admin *admin);

/* ---- server.c ---- */
/* Takes the connection. */
void admin_accept(struct admin *admin, enum role role, int fd);

/* ---- client.c ---- */
/* Zeroed before; who and role are the carrier's to say. */
void admin_client_init(struct admin_client *client,
                       struct admin *admin,
                       const struct admin_carrier *carrier);
/* Through its carrier. */
void admin_client_free(struct admin_client **client_p);
/* There may be a line in client->in. */
void admin_client_follow(struct admin_client *client);
/* What stands in client->out leaves with the next turn; then its next line is followed.
 */
void admin_client_write(struct admin_client *client);
/* All of it has left. May free the client. */
void admin_client_written(struct admin_client *client);
/* It is told why, and ends. */
void admin_client_refuse(struct admin_client *client, const char *why);
void admin_client_end(struct admin_client *client);

/* ---- server.c ---- */
void admin_server_free(struct admin *admin);

/* ---- remote.c ---- */
/* The tcp:// endpoints of these options, as bind_set_prepare. */
MUST_CHECK bool remote_prepare(struct admin *admin,
                               const struct proxy_options *options,
                               struct buf *ret_message);
void remote_rollback(struct admin *admin);
void remote_commit(struct admin *admin);
/* Closes them, after what is said there was sent. */
void remote_leave(struct admin *admin);
/* After the clients are gone; waits a moment for the last answers to leave. */
void remote_free_all(struct admin *admin);
uint32_t remote_peer_count(const struct admin *admin);

/* ---- register.c ---- */
void register_start(struct admin *admin);  /* of leases, when there are members */
void register_resume(struct admin *admin); /* leases can be renewed again, and begin */
void register_free(struct admin *admin);

/* ---- target.c ---- */
/* The one that a person means, which the operation is about from here on. NULL: there
 * is none (*ret_none), or it is refused. */
struct member *operation_find(struct operation *op, const char *name, bool *ret_none);
/* The one that the first operand names. NULL: refused. */
struct member *operation_find_member(struct operation *op);
/* The pool that the operand names is op->pool from here on; without it, op->pool stays
 * empty: all are meant. False: refused. */
MUST_CHECK bool operation_find_pool(struct operation *op, size_t operand);
void operation_set_target(struct operation *op, const struct member *m);
struct member *operation_target(const struct operation *op); /* NULL: gone meanwhile */
/* It is as asked for: done. _keep_: and written down, for it may have been --ephemeral.
 */
void operation_unchanged(struct operation *op, const char *what);
void operation_keep_unchanged(struct operation *op, const char *what);
void operation_usage(struct operation *op); /* refuses */

/* ---- add.c ---- */
/* KEY=VALUE of the line, if it is there, 0 to `most`; *ret_value is kept if not. False:
 * refused. */
MUST_CHECK bool operation_read_number(struct operation *op,
                                      const char *key,
                                      uint64_t most,
                                      uint32_t *ret_value);

/* ---- show.c ---- */
void show_new_events(struct operation *op);
void admin_format_time(int64_t at_ms, char ret_text[32]); /* RFC 3339 */

/* ---- show_backends.c ---- */
/* The sum over the edges of what they report of this one; false: none knows it. */
struct backend_sum {
    struct backend_report all; /* state: the least far of the edges' */
    uint32_t edges, edges_up;  /* that know it; that may send to it */
    uint32_t edges_failed;     /* whose HTTP check it fails */
    uint32_t edges_above;      /* to which it has not said that it keeps its limit */
    uint32_t edges_ejected;    /* that leave it alone for a while, for it failed */
};
bool admin_sum_backend(const struct operation *op,
                       const char *pool,
                       uint32_t index, /* where it probably stands */
                       const char *name,
                       struct backend_sum *ret_sum);
/* The one that the operation is about, or all addresses of the entry. */
struct target_sum {
    uint32_t count, up; /* backends; those that are up for every edge thread */
    uint32_t in_flight, slots;
    uint32_t running; /* as they say */
    uint32_t above; /* edge threads to which one has not said that it keeps its limit */
    const char *why; /* the state of one that is not up; NULL: all are */
};
void admin_sum_target(const struct operation *op, struct target_sum *ret_sum);
/* ---- the verbs: show.c, show_backends.c, change.c ---- */
#define VERB(words, role, effect, least, most, keys, arguments, help, function)        \
    void function(struct operation *op);
#include "proxy/admin/verbs.def"
#undef VERB

#endif
