/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulator's command line (see options.h).
 */
#include "options.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tools/wav.h"

enum kind { KIND_FLAG, KIND_NUMBER, KIND_REAL, KIND_TEXT, KIND_CALL };

struct option {
	const char *name, *argument;
	enum kind kind;
	size_t offset;
	int (*call)(struct options *options, const char *value, FILE *errors);
	const char *help;
};

static int complain(FILE *errors, const char *what, const char *value)
{
	fprintf(errors, "gemini-emulator: %s: %s\n", what, value);
	return -EINVAL;
}

/* A label is shown and makes file names. */
static bool is_label(const char *text, size_t size)
{
	if (size == 0 || size >= PERSONA_LABEL_MAX)
		return false;
	for (size_t i = 0; i < size; i++) {
		char c = text[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
			    c == '.'))
			return false;
	}
	return text[0] != '.';
}

static struct persona *add_persona(struct options *options, const char *label, size_t size)
{
	struct persona *grown = realloc(options->personas, (options->persona_count + 1) * sizeof(*grown));
	if (grown == NULL)
		return NULL;
	options->personas = grown;
	struct persona *persona = &grown[options->persona_count++];
	memset(persona, 0, sizeof(*persona));
	memcpy(persona->label, label, size);
	return persona;
}

/* The persona of LABEL in "LABEL=value"; *value is set behind the sign. */
static struct persona *persona_of(struct options *options, const char *text, const char **value, FILE *errors)
{
	const char *sign = strchr(text, '=');
	for (unsigned i = 0; sign != NULL && i < options->persona_count; i++) {
		struct persona *persona = &options->personas[i];
		if (strlen(persona->label) == (size_t)(sign - text) && memcmp(persona->label, text, (size_t)(sign - text)) == 0) {
			*value = sign + 1;
			return persona;
		}
	}
	complain(errors, sign ? "no --api-key before this has that label" : "expected LABEL=VALUE", text);
	return NULL;
}

/* Label behind the last '=' of `value`, or `fallback`; NULL after a complaint. */
static const char *label_of(
	const struct options *options, const char *value, const char *fallback, const char *name, FILE *errors)
{
	const char *sign = strrchr(value, '='), *label = sign ? sign + 1 : fallback;
	if (!is_label(label, strlen(label)) || sign == value || value[0] == '\0') {
		fprintf(errors, "gemini-emulator: %s takes a label of letters, digits, '-', '_' and '.', not: %s\n", name, label);
		return NULL;
	}
	for (unsigned i = 0; i < options->persona_count; i++) {
		if (strcmp(options->personas[i].label, label) == 0) {
			complain(errors, "label given twice", label);
			return NULL;
		}
	}
	return label;
}

static int call_service_account(struct options *options, const char *value, FILE *errors)
{
	const char *sign = strrchr(value, '='), *label = label_of(options, value, "account", "--service-account", errors);
	struct persona *persona = label != NULL ? add_persona(options, label, strlen(label)) : NULL;
	if (persona == NULL)
		return label != NULL ? -ENOMEM : -EINVAL;
	persona->account = sign ? strndup(value, (size_t)(sign - value)) : strdup(value);
	return persona->account ? 0 : -ENOMEM;
}

static int call_api_key(struct options *options, const char *value, FILE *errors)
{
	char number[16];
	const char *sign = strrchr(value, '='), *label = sign ? sign + 1 : number;
	snprintf(number, sizeof(number), "key%u", options->persona_count + 1);
	if (label_of(options, value, number, "--api-key", errors) == NULL)
		return -EINVAL;
	struct persona *persona = add_persona(options, label, strlen(label));
	if (persona == NULL)
		return -ENOMEM;
	persona->key = sign ? strndup(value, (size_t)(sign - value)) : strdup(value);
	return persona->key ? 0 : -ENOMEM;
}

static int call_answer_wav(struct options *options, const char *value, FILE *errors)
{
	char error[256];
	struct wav wav = {0};
	const char *path;
	struct persona *persona = persona_of(options, value, &path, errors);
	if (persona == NULL)
		return -EINVAL;
	if (persona->answer_count == PERSONA_ANSWERS_MAX)
		return complain(errors, "too many --answer-wav for one label", value);
	if (wav_load(path, VOICE_RATE, &wav, error, sizeof(error)) != 0)
		return complain(errors, "--answer-wav", error);
	int result = voice_from_pcm(wav.samples, wav.count, VOICE_RATE, &persona->answers[persona->answer_count]);
	wav_free(&wav);
	if (result == 0)
		persona->answer_count++;
	return result;
}

static int call_transcript(struct options *options, const char *value, FILE *errors)
{
	const char *words;
	struct persona *persona = persona_of(options, value, &words, errors);
	if (persona == NULL)
		return -EINVAL;
	if (persona->transcript_count == PERSONA_ANSWERS_MAX)
		return complain(errors, "too many --transcript for one label", value);
	persona->transcripts[persona->transcript_count++] = words;
	return 0;
}

static int call_answer_text(struct options *options, const char *value, FILE *errors)
{
	const char *words;
	struct persona *persona = persona_of(options, value, &words, errors);
	if (persona == NULL)
		return -EINVAL;
	if (persona->answer_text_count == PERSONA_ANSWERS_MAX)
		return complain(errors, "too many --answer-text for one label", value);
	persona->answer_texts[persona->answer_text_count++] = words;
	return 0;
}

static int call_reference(struct options *options, const char *value, FILE *errors)
{
	const char *sign = strchr(value, '=');
	if (sign == NULL || !is_label(value, (size_t)(sign - value)))
		return complain(errors, "--reference takes LABEL=FILE, not", value);
	if (options->reference_count == OPTIONS_REFERENCES_MAX)
		return complain(errors, "too many references", value);
	memcpy(options->references[options->reference_count].label, value, (size_t)(sign - value));
	options->references[options->reference_count++].path = sign + 1;
	return 0;
}

static int call_voice(struct options *options, const char *value, FILE *errors)
{
	options->rules.echo = strcmp(value, "echo") == 0;
	if (!options->rules.echo && strcmp(value, "tone") != 0)
		return complain(errors, "--voice is tone or echo, not", value);
	return 0;
}

/* N:CODE[:REASON], or 0: never. */
static int read_after(const char *value, uint32_t *after_ms, unsigned *code, const char **reason)
{
	char *end;
	*after_ms = (uint32_t)strtoul(value, &end, 10);
	*code = *end == ':' ? (unsigned)strtoul(end + 1, &end, 10) : 0;
	*reason = *end == ':' ? end + 1 : "";
	if (strcmp(value, "0") == 0)
		return 0;
	return *after_ms > 0 && *code > 0 && *code <= 4999 && (*end == ':' || *end == '\0') ? 0 : -EINVAL;
}

static int call_close_after(struct options *options, const char *value, FILE *errors)
{
	struct fault_rules *faults = &options->faults;
	if (read_after(value, &faults->close_after_ms, &faults->close_code, &faults->close_reason) != 0 ||
		(faults->close_after_ms > 0 && faults->close_code < 1000))
		return complain(errors, "--close-after-ms takes N:CODE[:REASON], not", value);
	return 0;
}

static int call_error_after(struct options *options, const char *value, FILE *errors)
{
	struct fault_rules *faults = &options->faults;
	if (read_after(value, &faults->error_after_ms, &faults->error_code, &faults->error_reason) != 0)
		return complain(errors, "--error-after-ms takes N:CODE[:MESSAGE], not", value);
	return 0;
}

#define AT(member) offsetof(struct options, member)
#define FLAG(n, m, h)                              \
	{                                          \
		n, NULL, KIND_FLAG, AT(m), NULL, h \
	}
#define NUMBER(n, m, h)                             \
	{                                           \
		n, "N", KIND_NUMBER, AT(m), NULL, h \
	}
#define REAL(n, m, h)                             \
	{                                         \
		n, "X", KIND_REAL, AT(m), NULL, h \
	}
#define TEXT(n, a, m, h)                        \
	{                                       \
		n, a, KIND_TEXT, AT(m), NULL, h \
	}
#define CALL(n, a, c, h)                 \
	{                                \
		n, a, KIND_CALL, 0, c, h \
	}
#define HEADING(h)                                \
	{                                         \
		NULL, NULL, KIND_FLAG, 0, NULL, h \
	}

static const struct option table[] = {
	HEADING("Server"),
	TEXT("--listen", "ADDRESS", listen, "address to listen on (127.0.0.1)"),
	NUMBER("--port", port, "port, 0 = choose; the line \"listening on port N\" says which (0)"),
	TEXT("--cert", "FILE", cert, "certificate chain, PEM"),
	TEXT("--key", "FILE", key, "its private key, PEM"),
	FLAG("--plain", plain, "no TLS"),
	NUMBER("--stats-port", stats_port,
		"also answer GET /stats here without TLS, 0 = choose; prints \"statistics on port N\""),
	NUMBER("--seed", seed, "seed of everything drawn at random (from the system)"),
	FLAG("--verbose", verbose, "log each connection"),
	HEADING("Keys and voices"),
	CALL("--api-key", "KEY[=LABEL]", call_api_key, "accept this key; only its label is ever shown (repeatable)"),
	CALL("--service-account", "ADDRESS[=LABEL]", call_service_account,
		"a service account for Vertex AI; POST /token gives it access tokens (repeatable)"),
	TEXT("--oauth-key", "FILE", oauth_key, "public key, PEM, that signs the service accounts' assertions"),
	CALL("--voice", "tone|echo", call_voice, "answer with the key's own melody, or with what the caller said (tone)"),
	NUMBER("--answer-ms", answer_ms, "length of the melody (3000)"),
	CALL("--answer-wav", "LABEL=FILE", call_answer_wav, "answer with this sound file instead; repeat for further turns"),
	CALL("--answer-text", "LABEL=TEXT", call_answer_text, "transcript of the answer; repeatable"),
	CALL("--transcript", "LABEL=TEXT", call_transcript, "what the caller is said to have said; repeatable"),
	TEXT("--record", "DIR", record, "write what each connection heard to DIR/LABEL-N.wav (16 kHz)"),
	CALL("--reference", "LABEL=FILE", call_reference,
		"clean speech of a caller; GET /stats?heard says which caller each key heard"),
	HEADING("Timing"),
	NUMBER("--setup-delay-ms", rules.setup_delay_ms, "setup to setupComplete (250)"),
	NUMBER("--resume-delay-ms", rules.resume_delay_ms, "the same when resuming (550)"),
	NUMBER("--speech-start-ms", rules.speech_start_ms, "speech until ACTIVITY_START, whatever prefixPaddingMs says"),
	NUMBER("--think-ms", rules.think_ms, "silence detected to ACTIVITY_END and answer (400)"),
	NUMBER("--text-ms", rules.text_ms, "text or tool response to answer (700)"),
	NUMBER("--resume-lock-ms", rules.resume_lock_ms, "a session closed while idle cannot be resumed for so long (1000)"),
	NUMBER("--lifetime-ms", lifetime_ms, "end connections after so long with 1008 (0 = never)"),
	NUMBER("--go-away-ms", go_away_ms, "goAway comes so long before (50000)"),
	NUMBER("--token-life-s", faults.token_life_s, "access tokens are good for so long (3600)"),
	HEADING("Faults"),
	NUMBER("--fault-every", fault_every, "hit each Nth connection of a key only (1)"),
	TEXT("--fault-label", "LABEL", fault_label, "hit this key only"),
	FLAG("--no-setup-complete", rules.no_setup_complete, "never answer setup"),
	CALL("--close-after-ms", "N:CODE:REASON", call_close_after, "close so long after the upgrade"),
	CALL("--error-after-ms", "N:CODE:MESSAGE", call_error_after, "send an error inside a message so long after the upgrade"),
	REAL("--random-1011", faults.random_1011, "probability per second of a 1011"),
	NUMBER("--stall-ms", rules.burst.stall_ms, "pause in the middle of each answer"),
	REAL("--pace", rules.burst.pace, "answers at X times real time; below 1 the caller starves"),
	NUMBER("--lead-ms", rules.burst.lead_ms, "with --pace: so much of each answer at once, before the pace begins (0)"),
	NUMBER("--chunk-bytes", rules.burst.chunk_bytes, "PCM bytes of each audio message"),
	FLAG("--odd-chunks", rules.burst.odd, "one more byte in each audio message: samples straddle messages"),
	FLAG("--tiny-chunks", rules.burst.tiny, "every second audio message has 2 bytes"),
	FLAG("--empty-turn-complete", rules.empty_turns, "turns end without an answer"),
	FLAG("--mute", rules.mute, "hear the caller and never answer"),
	FLAG("--deaf", rules.deaf, "take audio and hear nobody speak"),
	FLAG("--separate-transcript", rules.separate_transcript, "outputTranscription in messages of its own"),
	FLAG("--no-noise", rules.no_noise, "leave out the {} messages"),
	NUMBER("--noise-ms", rules.noise_ms, "send {} and {\"serverContent\": {}} in turn, so often, whatever else goes on"),
	NUMBER("--interrupt-every-ms", rules.interrupt_every_ms, "interrupt answers after so long although nobody speaks"),
	TEXT("--tool-call", "NAME", rules.tool_name, "call this function in the first turn"),
	TEXT("--tool-args", "JSON", rules.tool_args, "with these arguments"),
	FLAG("--tool-cancel", rules.tool_cancel, "cancel a pending function call when the caller speaks"),
	FLAG("--tool-without-id", rules.tool_without_id, "leave out the call's id"),
	FLAG("--strict-tool-ids", rules.strict_tool_ids, "close with 1008 on a toolResponse with an unknown id"),
	FLAG("--strict-order", rules.strict_order, "close with 1007 on audio before setupComplete"),
	NUMBER("--parts", rules.parts, "modelTurn parts of each audio message"),
	FLAG("--fragment", faults.fragment, "split each message into three frames"),
	FLAG("--text-frames", faults.text_frames, "text instead of binary frames"),
	NUMBER("--half-open-after-ms", faults.half_open_after_ms, "then neither read nor write any more"),
	NUMBER("--tcp-reset-after-ms", faults.tcp_reset_after_ms, "then reset the TCP connection"),
	NUMBER("--pong-delay-ms", faults.pong_delay_ms, "answer pings so late"),
	NUMBER("--refuse-resume", rules.refuse_resume, "refuse a session's first N resumptions with 1011"),
	FLAG("--quota-close", faults.quota_close, "answer setup with the quota's 1011"),
	NUMBER("--upgrade-delay-ms", faults.upgrade_delay_ms, "answer the upgrade so late"),
	NUMBER("--http-status", faults.http_status, "refuse the upgrade with 401, 403, 429, 500 or 503"),
	NUMBER("--token-status", faults.token_status, "refuse every assertion with this status"),
	NUMBER("--token-delay-ms", faults.token_delay_ms, "give out access tokens so late"),
	NUMBER("--key-status", faults.key_status, "refuse unknown keys at the upgrade with this status, not after setup"),
};
#define OPTION_COUNT (sizeof(table) / sizeof(table[0]))

static void print_help(FILE *output)
{
	fprintf(output, "gemini-emulator: a local Gemini Live server for tests. It is strict about what the real service "
			"refuses, answers as it\n"
			"does, and can misbehave on request. GET /stats on its port gives counters per key as JSON.\n");
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		char left[64];
		if (table[i].name == NULL) {
			fprintf(output, "\n%s:\n", table[i].help);
			continue;
		}
		snprintf(left, sizeof(left), "%s%s%s", table[i].name, table[i].argument ? " " : "",
			table[i].argument ? table[i].argument : "");
		fprintf(output, "  %-32s %s\n", left, table[i].help);
	}
}

static int set_number(void *to, const char *value, const char *name, FILE *errors)
{
	char *end;
	errno = 0;
	unsigned long number = strtoul(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' || value[0] == '-' || number > UINT32_MAX) {
		fprintf(errors, "gemini-emulator: %s takes a whole number, not \"%s\"\n", name, value);
		return -EINVAL;
	}
	*(uint32_t *)to = (uint32_t)number;
	return 0;
}

static int apply(struct options *options, const struct option *option, const char *value, FILE *errors)
{
	char *to = (char *)options + option->offset, *end;
	switch (option->kind) {
	case KIND_FLAG:
		*(bool *)to = value == NULL || strcmp(value, "0") != 0;
		return 0;
	case KIND_NUMBER:
		if (option->offset == AT(fault_every) && strcmp(value, "0") == 0)
			return complain(errors, "--fault-every", "at least 1");
		options->with_stats_port |= option->offset == AT(stats_port);
		return set_number(to, value, option->name, errors);
	case KIND_REAL:
		*(double *)to = strtod(value, &end);
		return *end == '\0' && end != value && *(double *)to >= 0 ? 0 : complain(errors, "not a number", value);
	case KIND_TEXT:
		*(const char **)to = value;
		return 0;
	case KIND_CALL:
		return option->call(options, value, errors);
	}
	return -EINVAL;
}

/* What is left without the faults. */
static void derive_clean(struct options *options)
{
	options->clean = options->rules;
	options->clean.burst = (struct burst_rules){0};
	options->clean.no_setup_complete = options->clean.empty_turns = false;
	options->clean.interrupt_every_ms = options->clean.refuse_resume = options->clean.noise_ms = 0;
	options->clean.tool_name = NULL;
	options->clean.tool_args = NULL;
	options->clean.parts = 0;
}

static int finish(struct options *options, FILE *errors)
{
	if (options->plain == (options->cert != NULL || options->key != NULL) ||
		(options->cert == NULL) != (options->key == NULL))
		return complain(errors, "give either", "--plain, or --cert and --key");
	if (options->port > 65535 || options->stats_port > 65535)
		return complain(errors, "port", "at most 65535");
	for (unsigned i = 0; i < options->persona_count; i++) {
		struct persona *persona = &options->personas[i];
		if (persona->answer_count > 0)
			continue;
		if (voice_tone(persona->label, options->answer_ms, &persona->answers[0]) != 0)
			return -ENOMEM;
		persona->answer_count = 1;
	}
	derive_clean(options);
	return 0;
}

int options_parse(struct options *options, int argc, char **argv, FILE *output, FILE *errors)
{
	*options = (struct options){.listen = "127.0.0.1", .fault_every = 1, .go_away_ms = 50000, .answer_ms = 3000};
	options->rules = (struct talk_rules){.setup_delay_ms = 250,
		.resume_delay_ms = 550,
		.update_delay_ms = 100,
		.think_ms = 400,
		.text_ms = 700,
		.resume_lock_ms = 1000};
	options->faults.token_life_s = 3600;
	for (int i = 1; i < argc; i++) {
		const struct option *option = NULL;
		if (strcmp(argv[i], "--help") == 0) {
			print_help(output);
			return 1;
		}
		for (size_t j = 0; j < OPTION_COUNT && option == NULL; j++) {
			if (table[j].name != NULL && strcmp(table[j].name, argv[i]) == 0)
				option = &table[j];
		}
		if (option == NULL)
			return complain(errors, "unknown option", argv[i]);
		if (option->argument != NULL && i + 1 == argc)
			return complain(errors, "a value is missing after", argv[i]);
		int error = apply(options, option, option->argument ? argv[++i] : NULL, errors);
		if (error)
			return error;
	}
	return finish(options, errors);
}

int options_change(struct options *options, const char *name, const char *value, FILE *errors)
{
	struct options_text *kept;
	size_t i = 0;
	int result;
	while (table[i].name != NULL || strcmp(table[i].help, "Timing") != 0)
		i++;
	while (i < OPTION_COUNT && (table[i].name == NULL || strcmp(table[i].name + 2, name) != 0))
		i++;
	if (i == OPTION_COUNT)
		return complain(errors, "no such setting of timing or faults", name);
	kept = malloc(sizeof(*kept) + strlen(value) + 1);
	if (kept == NULL)
		return -ENOMEM;
	kept->next = options->texts;
	options->texts = kept;
	strcpy(kept->text, value);
	result = apply(options, &table[i], kept->text, errors);
	if (result == 0 && table[i].kind == KIND_TEXT && value[0] == '\0')
		*(const char **)((char *)options + table[i].offset) = NULL;
	derive_clean(options);
	return result;
}

void options_restore(struct options *options, const struct options *initial)
{
	options->rules = initial->rules;
	options->clean = initial->clean;
	options->faults = initial->faults;
	options->fault_every = initial->fault_every;
	options->fault_label = initial->fault_label;
	options->lifetime_ms = initial->lifetime_ms;
	options->go_away_ms = initial->go_away_ms;
}

void options_free(struct options *options)
{
	while (options->texts != NULL) {
		struct options_text *text = options->texts;
		options->texts = text->next;
		free(text);
	}
	for (unsigned i = 0; i < options->persona_count; i++) {
		struct persona *persona = &options->personas[i];
		for (unsigned j = 0; j < persona->answer_count; j++)
			voice_answer_free(&persona->answers[j]);
		free(persona->key);
		free(persona->account);
	}
	free(options->personas);
}
