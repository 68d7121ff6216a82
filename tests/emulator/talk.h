/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One emulated Live session as a state machine: it takes checked client messages, audio and the clock, and gives server messages
 * or a refusal to its host. Pure: no sockets, no real time. Timings are those measured on gemini-3.8-live.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "burst.h"
#include "message.h"
#include "persona.h"
#include "registry.h"
#include "setup.h"
#include "vad.h"

/* Settings shared by all sessions; read only while sessions run. */
struct talk_rules {
	uint32_t setup_delay_ms, resume_delay_ms, update_delay_ms;
	uint32_t speech_start_ms; /* of speech until ACTIVITY_START, 0: as the setup says */
	uint32_t think_ms;	  /* end of speech as the detector sees it -> ACTIVITY_END and answer */
	uint32_t text_ms;	  /* text input or tool response -> answer */
	uint32_t resume_lock_ms;
	unsigned refuse_resume;
	struct burst_rules burst;
	const char *tool_name; /* call this function in a session's first turn, NULL = never */
	const char *tool_args; /* with these arguments, NULL = {"why": "done"} */
	bool tool_without_id;
	bool tool_cancel;     /* cancel a call that is pending when the caller speaks, as 2.5 models do */
	bool strict_tool_ids; /* a response with an unknown id closes with 1008 instead of being ignored */
	bool strict_order;    /* audio before setupComplete closes with 1007 instead of being dropped */
	uint32_t parts;	      /* of each audio message, 0 = 1 */
	bool no_setup_complete;
	bool empty_turns;	     /* turnComplete without an answer */
	bool mute;		     /* hears and never answers */
	bool deaf;		     /* hears nobody speak */
	bool echo;		     /* the answer is the utterance itself */
	bool no_noise;		     /* leave out the {} messages */
	uint32_t noise_ms;	     /* {} so often besides, 0 = not */
	bool separate_transcript;    /* words in messages of their own instead of with the audio */
	uint32_t interrupt_every_ms; /* phantom interruptions during answers, 0 = none */
};

/* What a session needs from its connection. */
struct talk_host {
	void *user;
	void (*send)(void *user, const struct text *text);		 /* one message */
	void (*refuse)(void *user, int code, const char *reason);	 /* close after what was sent */
	void (*heard)(void *user, const int16_t *samples, size_t count); /* received audio at 16 kHz */
	void (*random)(void *user, void *bytes, size_t size);
};

enum talk_turn { TALK_TURN_NONE, TALK_TURN_GENERATING, TALK_TURN_PLAYING };

struct talk {
	const struct talk_rules *rules;
	struct talk_host host;
	struct persona *persona;
	struct registry *registry;
	enum request_api api;
	struct setup setup;
	struct session *session;
	bool no_key; /* set by the host after talk_init(): the request carried none */
	bool set_up, ready, closed;
	uint64_t setup_due, update_due, refuse_due; /* 0 = not set */
	struct vad vad;
	void *resampler; /* SpeexResamplerState to 16 kHz, for other rates */
	uint32_t resampler_rate;
	struct text text; /* scratch of the message being sent */
	/* The caller's side. */
	bool activity_reported, explicit_activity;
	uint64_t end_due, end_offset_ms, utterance_ms;
	int16_t *utterance; /* echo mode: audio of the present utterance with some lead */
	size_t utterance_count, utterance_room;
	uint64_t heard_samples, explicit_start_ms;
	/* The model's side. */
	enum talk_turn turn;
	uint64_t answer_due, turn_end, interrupt_due, noise_due;
	bool noise_with_content;
	const struct voice_answer *answer;
	struct voice_answer echo;
	struct burst burst;
	const char *words; /* rest of the answer's text */
	size_t words_left;
	bool tool_pending;
	char tool_id[32]; /* of the last call */
	unsigned tool_number;
};

/* Start a session on a fresh connection. `persona` NULL: the key is unknown, setup will be refused. */
void talk_init(struct talk *talk, const struct talk_rules *rules, const struct talk_host *host, struct persona *persona,
	struct registry *registry, enum request_api api);

/* Free what the session holds and mark its handles free. */
void talk_clear(struct talk *talk, uint64_t now_ms);

/* One whole WebSocket message. */
void talk_message(struct talk *talk, const char *data, size_t size, uint64_t now_ms);

/* Let time pass; call every 10 ms or so. */
void talk_tick(struct talk *talk, uint64_t now_ms);

/* Interrupt the model's turn, if there is one. */
void talk_interrupt(struct talk *talk);

/* Is the model silent and nobody speaking? */
bool talk_is_idle(const struct talk *talk);
