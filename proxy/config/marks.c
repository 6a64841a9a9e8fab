/* SPDX-License-Identifier: MIT
 * libyaml's tree of the text, in which every node knows where it stands. */
#include "proxy/config/marks.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "protocol/base/mem.h"

enum { MARKS_MAGIC = 0x3a4c5 };

struct marks {
    uint32_t magic;
    yaml_document_t document;
};

static struct mark mark_of(yaml_mark_t at)
{
    return (struct mark){at.line + 1, at.column + 1};
}

static bool has_second(yaml_parser_t *parser, struct mark *ret_mark)
{
    yaml_document_t document;
    if (yaml_parser_load(parser, &document) != 1) {
        *ret_mark = mark_of(parser->problem_mark);
        return true;
    }
    bool has_root = yaml_document_get_root_node(&document) != NULL;
    *ret_mark = mark_of(document.start_mark);
    yaml_document_delete(&document);
    return has_root;
}

struct marks *
marks_new(struct slice text, struct mark *ret_mark, const char **ret_reason)
{
    yaml_parser_t parser;
    ASSERT(yaml_parser_initialize(&parser) == 1);
    const char *input = text.len == 0 ? "" : text.ptr;
    yaml_parser_set_input_string(&parser, (const unsigned char *)input, text.len);
    struct marks *marks = mem_zalloc(sizeof(*marks));
    marks->magic = MARKS_MAGIC;
    if (yaml_parser_load(&parser, &marks->document) != 1) {
        *ret_mark = mark_of(parser.problem_mark);
        *ret_reason = parser.problem == NULL ? "no YAML" : parser.problem;
        mem_free(&marks);
    }
    if (marks != NULL && has_second(&parser, ret_mark)) {
        *ret_reason = "a second document; expected one";
        marks_free(&marks);
    }
    yaml_parser_delete(&parser);
    return marks;
}

void marks_free(struct marks **marks_p)
{
    struct marks *marks = *marks_p;
    if (marks == NULL)
        return;
    CHECK_OBJ(marks, MARKS_MAGIC);
    yaml_document_delete(&marks->document);
    marks->magic = 0;
    mem_free(marks_p);
}

static struct slice text_of(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE)
        return (struct slice){0};
    return slice_of(node->data.scalar.value, node->data.scalar.length);
}

static yaml_node_t *
value_of(struct marks *marks, yaml_node_t *mapping, struct slice key)
{
    if (mapping->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++)
        if (slice_eq(text_of(yaml_document_get_node(&marks->document, pair->key)), key))
            return yaml_document_get_node(&marks->document, pair->value);
    return NULL;
}

static yaml_node_t *item_of(struct marks *marks, yaml_node_t *sequence, size_t index)
{
    if (sequence->type != YAML_SEQUENCE_NODE)
        return NULL;
    yaml_node_item_t *first = sequence->data.sequence.items.start;
    if (index >= (size_t)(sequence->data.sequence.items.top - first))
        return NULL;
    return yaml_document_get_node(&marks->document, first[index]);
}

struct mark marks_find(struct marks *marks, const char *path)
{
    CHECK_OBJ(marks, MARKS_MAGIC);
    yaml_node_t *node = yaml_document_get_root_node(&marks->document);
    struct mark mark = {1, 1};
    while (node != NULL) {
        mark = mark_of(node->start_mark);
        path += *path == '.';
        if (*path == '\0')
            break;
        if (*path == '[') {
            char *end;
            node = item_of(marks, node, strtoul(path + 1, &end, 10));
            path = *end == ']' ? end + 1 : end;
        } else {
            size_t length = strcspn(path, ".[");
            node = value_of(marks, node, slice_of(path, length));
            path += length;
        }
    }
    return mark;
}

struct mark marks_find_key(struct marks *marks, const char *key, struct mark from)
{
    CHECK_OBJ(marks, MARKS_MAGIC);
    struct mark found = from;
    bool has_found = false;
    yaml_node_t *node;
    for (int i = 1; (node = yaml_document_get_node(&marks->document, i)) != NULL; i++) {
        if (node->type != YAML_MAPPING_NODE)
            continue;
        for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
             pair < node->data.mapping.pairs.top; pair++) {
            yaml_node_t *k = yaml_document_get_node(&marks->document, pair->key);
            struct mark at = mark_of(k->start_mark);
            bool is_behind = at.line > from.line ||
                             (at.line == from.line && at.column >= from.column);
            bool is_before = at.line < found.line ||
                             (at.line == found.line && at.column < found.column);
            if (!is_behind || !slice_eq(text_of(k), slice_from(key)) ||
                (has_found && !is_before))
                continue;
            found = at;
            has_found = true;
        }
    }
    return found;
}
