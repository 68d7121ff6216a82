/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The notifications of the control socket. The list makes the names and is checked against doc/interfaces.md. Pure.
 */
#pragma once

/* X(IDENTIFIER, "name", "when") */
#define EVENTS(X)                                                                                                 \
	X(SESSION_CREATED, "session.created", "a call was created")                                               \
	X(SESSION_BOUND, "session.bound", "the caller's stream was locked or re-locked to the call")              \
	X(SESSION_AMBIGUOUS, "session.ambiguous", "a packet could belong to several calls, so nobody got it")     \
	X(SESSION_STATE, "session.state", "the conversation changed its state")                                   \
	X(SESSION_READY, "session.ready", "the model can hear the caller")                                        \
	X(SESSION_TRANSCRIPT, "session.transcript", "text of what was said")                                      \
	X(SESSION_INTERRUPTED, "session.interrupted", "the caller spoke into the model's answer")                 \
	X(SESSION_PHANTOM_INTERRUPTION, "session.phantom_interruption",                                           \
		"the answer was interrupted, and no caller was heard in the two seconds before")                  \
	X(SESSION_NO_ANSWER, "session.no_answer",                                                                 \
		"the model owes an answer and stayed mute through a reminder and two new connections")            \
	X(SESSION_GENERATION_COMPLETE, "session.generation_complete", "the model has produced all of its answer") \
	X(SESSION_TURN_COMPLETE, "session.turn_complete", "the model's turn is over")                             \
	X(SESSION_FINISHED_SPEAKING, "session.finished_speaking", "the caller has heard all of the answer")       \
	X(SESSION_GO_AWAY, "session.go_away", "the model's server will close the connection soon")                \
	X(SESSION_CLOSED, "session.closed", "the connection to the model closed")                                 \
	X(SESSION_RESUMED, "session.resumed", "after a gap the model can hear the caller again")                  \
	X(SESSION_THROTTLED, "session.throttled", "the service refused or closed the session for quota")          \
	X(SESSION_TURN, "session.turn", "caller and model have each said their part")                             \
	X(SESSION_TOOL_CALL, "session.tool_call", "the model wants a function called")                            \
	X(SESSION_DTMF, "session.dtmf", "the caller pressed a key")                                               \
	X(SESSION_TRANSFER_REQUESTED, "session.transfer_requested", "the model wants the caller transferred")     \
	X(SESSION_HOLD_REQUESTED, "session.hold_requested", "the model wants the caller on hold, or back")        \
	X(SESSION_TOOL_CANCELLED, "session.tool_cancelled", "the model does not want a result any more")          \
	X(SESSION_TOOL_EXPIRED, "session.tool_expired", "no result came in time, and the model was told so")      \
	X(SESSION_TOOL_LOST, "session.tool_lost", "whoever asked for a result is gone")                           \
	X(SESSION_USAGE, "session.usage", "tokens used, as the model reported them")                              \
	X(SESSION_ENDED, "session.ended", "a call ended")                                                         \
	X(WORKER_ATTACHED, "worker.attached", "a worker can take calls")                                          \
	X(WORKER_LOST, "worker.lost", "a worker is gone or was cut off")                                          \
	X(SYSTEM_DRAINING, "system.draining", "no new calls are accepted any more")
