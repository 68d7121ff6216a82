/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose turn it is in one call, and how the turns went: who speaks by whose word, whether an interruption had a caller behind it,
 * whether the model owes an answer, how long each answer took. Pure: events and a clock in, actions out; call_turn.h brings it what
 * happens and carries out what it decides.
 *
 * The service's word counts for turns, the worker's own voice detection (voice_activity.h) for what the service does not say. With
 * `local` the caller's voice stops the model's at once; without `interrupted` from the service within TURN_UNDO_MS it goes on.
 *
 * What an unpaid answer leads to (reminder, another connection) is session.h's matter. This decides only when one is owed beyond
 * what the messages show by themselves, and that nothing is owed to a caller on hold.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TURN_UNDO_MS	600u  /* the service says `interrupted` 140 to 260 ms after the caller begins */
#define TURN_PHANTOM_MS 2000u /* an interruption later than this after the caller's voice has another cause */
#define TURN_REMIND_MS	3000u /* nothing came after such an interruption: the model is asked to go on */
#define TURN_SPEECH_MS	500u  /* of voice that want an answer even if the service does not say that it heard any */
#define TURN_HUSH_MS	5000u /* the service says that the caller speaks, and no voice was heard for so long */

enum turn_event_type {
	TURN_READY,	      /* there is a session to talk to */
	TURN_GONE,	      /* there is none any more */
	TURN_HELD,	      /* the caller is on hold */
	TURN_BACK,	      /* and is no longer */
	TURN_ASKED,	      /* the model was given a text to answer to */
	TURN_TOOL_ANSWERED,   /* or the result of a function, and the caller waits for what it makes of it */
	TURN_CALLER_STARTED,  /* our own voice detection */
	TURN_CALLER_STOPPED,  /* the same: `voiced_ms` */
	TURN_SERVICE_STARTED, /* voiceActivity */
	TURN_SERVICE_STOPPED,
	TURN_CALLER_TEXT, /* inputTranscription */
	TURN_AUDIO,	  /* audio of the model that will be heard */
	TURN_FOLLOWED,	  /* audio of a new turn comes before the last one has been heard to its end */
	TURN_PASSED,	  /* all of the last one was handed over, what comes now is of the new one */
	TURN_FRAME,	  /* the first frame of a turn was handed over */
	TURN_TOOL_CALL,
	TURN_GENERATED,	  /* generationComplete */
	TURN_COMPLETE,	  /* turnComplete: `in_progress` */
	TURN_WAITING,	  /* waitingForInput */
	TURN_INTERRUPTED, /* `interrupted` */
	TURN_DRAINED,	  /* the caller has heard the turn to its end */
	TURN_STALLED,	  /* or all there was of it, some time ago, and the model has not said that it is over */
	TURN_TICK
};

struct turn_event {
	enum turn_event_type type;
	bool in_progress;   /* COMPLETE: the model goes on thinking (interactionStatus IN_PROGRESS) */
	uint32_t voiced_ms; /* CALLER_STOPPED: how much voice there was */
	uint64_t spoke_ms;  /* any: end of the newest speech of the caller, 0: never */
	uint64_t began_ms;  /* CALLER_STARTED: beginning of it */
};

#define TURN_DO_ASKED	    0x001u /* the model owes an answer from now on */
#define TURN_DO_ANSWERED    0x002u /* it has given one */
#define TURN_DO_EXCUSED	    0x004u /* it owes none for the time being */
#define TURN_DO_PAUSE	    0x008u /* stop playing, keep what was not heard */
#define TURN_DO_RESUME	    0x010u /* play it */
#define TURN_DO_CUT	    0x020u /* drop it: the service will not say so any more */
#define TURN_DO_FALSE_ALARM 0x040u /* tell the voice detection that it heard the model */
#define TURN_DO_HUSH	    0x080u /* the caller does not speak, whatever the service says */
#define TURN_DO_PHANTOM	    0x100u /* report that nobody interrupted */
#define TURN_DO_REMIND	    0x200u /* ask the model to go on */
#define TURN_DO_RESPONSE    0x400u /* `now.frame_ms` is the beginning of an answer */
#define TURN_DO_REPORT	    0x800u /* `ended` are turns that are over */

/* How one turn of the model went. Times are those of the clock, 0: it did not come to that. */
struct turn_numbers {
	uint32_t number;		       /* in the call, from 1 */
	uint64_t caller_from_ms, caller_to_ms; /* what the caller said before it, 0: nothing */
	uint64_t asked_ms; /* end of the caller's speech, or when the text was sent; 0: the model spoke by itself */
	uint64_t audio_ms; /* first message with audio */
	uint64_t frame_ms; /* first frame handed to the data plane */
	uint64_t end_ms;   /* heard to its end, or interrupted, or empty */
	bool interrupted;
	bool phantom; /* interrupted, and no caller was heard */
};

struct turn {
	bool local; /* stop at the caller's voice */
	bool ready, held;
	bool caller_speaks; /* by our own detection */
	bool service_hears; /* the caller, by its own */
	bool model_speaks;  /* from the first frame to DRAINED or an interruption */
	bool generated;	    /* nothing more comes of what is played */
	bool over;	    /* and the service believes that it has been heard: it will not say `interrupted` any more */
	bool cut;	    /* interrupted, the turnComplete of it has not come yet */
	bool paused;
	bool agreed; /* since the alarm the service has heard a caller as well */
	bool owed;   /* the model owes an answer */
	uint32_t count;
	uint64_t alarm_ms;   /* the caller was heard over the model, and the service has not said anything yet; 0: no */
	uint64_t remind_ms;  /* when the model will be asked to go on, 0: no */
	uint64_t service_ms; /* when the service began to hear the caller */
	uint64_t began_ms;   /* when the caller began what has not been answered, 0: nothing */
	uint64_t text_ms;    /* when it was given a text to answer to */
	uint64_t answer_ms;  /* newest sign of an answer */
	bool followed;	     /* by `next`, whose audio waits behind that of `now` */
	struct turn_numbers now, next, ended[2];
	unsigned int ended_count;
};

/* Prepare for one call. Worker loop. */
void turn_init(struct turn *turn, bool local);

/* One event. Worker loop. Returns TURN_DO_*. */
uint32_t turn_step(struct turn *turn, const struct turn_event *event, uint64_t now_ms);
