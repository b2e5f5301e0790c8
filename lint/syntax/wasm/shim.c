// What Go calls of tree-sitter: parse one text, then read its tree, flat, a
// buffer at a time. One instance of the module parses one text at a time.

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <tree_sitter/api.h>

#define EXPORT(name) __attribute__((export_name(#name)))

const TSLanguage *tree_sitter_javascript(void);
const TSLanguage *tree_sitter_typescript(void);
const TSLanguage *tree_sitter_tsx(void);
const TSLanguage *tree_sitter_python(void);

// The order is that of Language in Go.
static const TSLanguage *language(uint32_t i) {
  switch (i) {
    case 0: return tree_sitter_javascript();
    case 1: return tree_sitter_typescript();
    case 2: return tree_sitter_tsx();
    case 3: return tree_sitter_python();
    default: return NULL;
  }
}

// A node as Go reads it, in the order of a walk that visits parents first.
typedef struct {
  uint16_t symbol, field;
  uint32_t depth;
  uint32_t start, end;
  uint32_t flags;
} Record;

enum { NAMED = 1, MISSING = 2, EXTRA = 4, HAS_ERROR = 8 };
enum { ROOM = 4096 };

static Record records[ROOM];
static TSParser *parser;
static TSTree *tree;
static TSTreeCursor cursor;
static uint32_t depth;
static int walking;
static char *text;
static uint32_t length;

// allocate answers where the text goes, or NULL.
EXPORT(allocate) char *allocate(uint32_t size) { return text = malloc(size > 0 ? size : 1); }

EXPORT(records) Record *records_at(void) { return records; }

// A slice of parsing is this long at most. The work is what the lexers were
// given to read, again each time that they go back: a text that makes them read
// on to its end at every token has not much to do with a program.
enum { CHUNK = 16 << 10, SLICE_LOOKS = 20, SLICE_WORK = 8 << 20, MOST_WORK = 64 << 20 };
static int looks;
static uint32_t work, slice;

static const char *read_on(void *payload, uint32_t from, TSPoint point, uint32_t *size) {
  uint32_t left = from < length && work < MOST_WORK ? length - from : 0;
  *size = left < CHUNK ? left : CHUNK;
  work += *size;
  slice += *size;
  return text + from;
}

// tree-sitter calls this once in a hundred steps.
static bool is_over(TSParseState *state) { return --looks < 0 || slice >= SLICE_WORK; }

// begin answers 1 when the text can be parsed.
EXPORT(begin) int begin(uint32_t lang, uint32_t size) {
  if (parser == NULL) parser = ts_parser_new();
  length = size;
  work = 0;
  return ts_parser_set_language(parser, language(lang));
}

// advance parses for some milliseconds, and answers 1 when there is a tree to walk,
// 2 when it was too much work, and 0 when it is to be called again: Go, and not the
// module, knows the time.
EXPORT(advance) int advance(void) {
  TSInput input = {NULL, read_on, TSInputEncodingUTF8, NULL};
  TSParseOptions options = {NULL, is_over};
  looks = SLICE_LOOKS;
  slice = 0;
  tree = ts_parser_parse_with_options(parser, NULL, input, options);
  if (work >= MOST_WORK) return 2;
  if (tree == NULL) return 0;
  cursor = ts_tree_cursor_new(ts_tree_root_node(tree));
  depth = 0;
  walking = 1;
  return 1;
}

// next fills the buffer and says how many records it holds; 0 is the end.
EXPORT(next) uint32_t next(void) {
  uint32_t n = 0;
  while (walking && n < ROOM) {
    TSNode node = ts_tree_cursor_current_node(&cursor);
    Record *r = &records[n++];
    r->symbol = ts_node_symbol(node);
    r->field = ts_tree_cursor_current_field_id(&cursor);
    r->depth = depth;
    r->start = ts_node_start_byte(node);
    r->end = ts_node_end_byte(node);
    r->flags = (ts_node_is_named(node) ? NAMED : 0) | (ts_node_is_missing(node) ? MISSING : 0) |
               (ts_node_is_extra(node) ? EXTRA : 0) | (ts_node_has_error(node) ? HAS_ERROR : 0);
    if (ts_tree_cursor_goto_first_child(&cursor)) {
      depth++;
      continue;
    }
    while (!ts_tree_cursor_goto_next_sibling(&cursor)) {
      if (!ts_tree_cursor_goto_parent(&cursor)) {
        walking = 0;
        break;
      }
      depth--;
    }
  }
  return n;
}

// forget frees the text and what parse has made of it.
EXPORT(forget) void forget(void) {
  ts_tree_cursor_delete(&cursor);
  ts_tree_delete(tree);
  ts_parser_reset(parser);
  free(text);
  walking = 0;
}

EXPORT(symbols) uint32_t symbols(uint32_t lang) { return ts_language_symbol_count(language(lang)); }
EXPORT(symbol) const char *symbol(uint32_t lang, uint32_t i) { return ts_language_symbol_name(language(lang), i); }
EXPORT(fields) uint32_t fields(uint32_t lang) { return ts_language_field_count(language(lang)); }
EXPORT(field) const char *field(uint32_t lang, uint32_t i) { return ts_language_field_name_for_id(language(lang), i); }

// The module imports nothing: no file, no clock, no way out. tree-sitter writes
// to a stream only for debugging and before it gives up for want of memory, and
// asks for the time only when it was given a time-out.
FILE *const stderr = NULL;
int fprintf(FILE *f, const char *format, ...) { return 0; }
int vsnprintf(char *to, size_t size, const char *format, va_list arguments) { return 0; }
int snprintf(char *to, size_t size, const char *format, ...) {
  if (size > 0) *to = 0;
  return 0;
}
int fputs(const char *text, FILE *f) { return 0; }
int fputc(int c, FILE *f) { return c; }
int fclose(FILE *f) { return 0; }
FILE *fdopen(int fd, const char *mode) { return NULL; }
size_t fwrite(const void *from, size_t size, size_t n, FILE *f) { return n; }
int clock_gettime(clockid_t clock, struct timespec *now) {
  now->tv_sec = now->tv_nsec = 0;
  return 0;
}
_Noreturn void abort(void) { __builtin_trap(); }
