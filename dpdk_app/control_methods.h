/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The methods of the control socket (doc/interfaces.md): parameters in, a call or a description out. The context is the
 * dataplane. Control thread only.
 */
#pragma once

#include "control_socket.h"

/* For control_socket_open(). */
extern const struct control_socket_method control_methods[];
