/* SPDX-License-Identifier: Apache-2.0 */
/* See https.h. */
#include "https.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wss_lws.h"

#define PIECE 2048u

struct https_request {
	enum wss_user kind; /* first */
	struct lws *wsi;
	https_done *done; /* NULL: nobody listens any more */
	void *owner;
	int status;
	bool dialling, destroyed; /* inside https_post(); let go of in there */
	char *body;		  /* behind LWS_PRE bytes of room */
	size_t body_len;
	char *answer;
	size_t answer_len, answer_max;
};

static void report(struct https_request *r, int status, const char *reason)
{
	https_done *done = r->done;

	r->done = NULL;
	if (done != NULL)
		done(r->owner, status, r->answer, r->answer_len, reason);
}

static void free_request(struct https_request *r)
{
	explicit_bzero(r->body, LWS_PRE + r->body_len);
	explicit_bzero(r->answer, r->answer_max + 1);
	free(r->body);
	free(r->answer);
	free(r);
}

static int add_headers(struct https_request *r, struct lws *wsi, unsigned char **at, unsigned char *end)
{
	static const char type[] = "application/x-www-form-urlencoded";
	char length[16];
	int digits = snprintf(length, sizeof(length), "%zu", r->body_len);

	if (lws_add_http_header_by_token(
		    wsi, WSI_TOKEN_HTTP_CONTENT_TYPE, (const unsigned char *)type, (int)sizeof(type) - 1, at, end) != 0 ||
		lws_add_http_header_by_token(
			wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH, (const unsigned char *)length, digits, at, end) != 0)
		return -1;
	lws_client_http_body_pending(wsi, 1);
	lws_callback_on_writable(wsi);
	return 0;
}

static int send_body(struct https_request *r, struct lws *wsi)
{
	if (lws_write(wsi, (unsigned char *)r->body + LWS_PRE, r->body_len, LWS_WRITE_HTTP_FINAL) < (int)r->body_len)
		return -1;
	lws_client_http_body_pending(wsi, 0);
	return 0;
}

/* Makes libwebsockets hand over what has come, by the next event. */
static int read_more(struct lws *wsi)
{
	char buffer[LWS_PRE + PIECE], *at = buffer + LWS_PRE;
	int len = PIECE, result = lws_http_client_read(wsi, &at, &len) < 0 ? -1 : 0;

	explicit_bzero(buffer, sizeof(buffer));
	return result;
}

static int take_answer(struct https_request *r, const char *in, size_t len)
{
	if (len > r->answer_max - r->answer_len) {
		report(r, 0, "the answer is too long");
		return -1;
	}
	memcpy(r->answer + r->answer_len, in, len);
	r->answer_len += len;
	return 0;
}

static void say_failure(struct https_request *r, const char *text, size_t len)
{
	const char *certificate = wss_certificate_error();
	char reason[128];

	snprintf(reason, sizeof(reason), "%.*s", (int)(text != NULL ? len : 9), text != NULL ? text : "no answer");
	report(r, 0, certificate != NULL ? certificate : reason);
}

int https_on_event(struct lws *wsi, enum lws_callback_reasons event, void *user, void *in, size_t len)
{
	struct https_request *r = user;

	switch (event) {
	case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
		return r != NULL ? add_headers(r, wsi, in, *(unsigned char **)in + len) : -1;
	case LWS_CALLBACK_CLIENT_HTTP_WRITEABLE:
		return r != NULL ? send_body(r, wsi) : -1;
	case LWS_CALLBACK_ESTABLISHED_CLIENT_HTTP:
		if (r != NULL)
			r->status = (int)lws_http_client_http_response(wsi);
		return 0;
	case LWS_CALLBACK_RECEIVE_CLIENT_HTTP:
		return read_more(wsi);
	case LWS_CALLBACK_RECEIVE_CLIENT_HTTP_READ:
		return r != NULL ? take_answer(r, in, len) : -1;
	case LWS_CALLBACK_COMPLETED_CLIENT_HTTP:
		if (r != NULL)
			report(r, r->status, "");
		return -1;
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		if (r != NULL)
			say_failure(r, in, len);
		return 0;
	case LWS_CALLBACK_CLOSED_CLIENT_HTTP:
		if (r != NULL)
			report(r, 0, "the connection broke");
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		if (r == NULL)
			return 0;
		report(r, 0, "the connection broke");
		r->destroyed = true;
		if (!r->dialling)
			free_request(r);
		return 0;
	default:
		return 0;
	}
}

static struct https_request *make_request(const char *body, size_t answer_max)
{
	struct https_request *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->kind = WSS_USER_HTTPS;
	r->body_len = strlen(body);
	r->answer_max = answer_max;
	r->body = calloc(1, LWS_PRE + r->body_len + 1);
	r->answer = calloc(1, answer_max + 1);
	if (r->body == NULL || r->answer == NULL) {
		free(r->body);
		free(r->answer);
		free(r);
		return NULL;
	}
	memcpy(r->body + LWS_PRE, body, r->body_len);
	return r;
}

struct https_request *https_post(
	struct wss *wss, const struct wss_config *to, const char *body, size_t answer_max, https_done *done, void *owner)
{
	struct https_request *r = make_request(body, answer_max);
	struct lws_client_connect_info info = {0};
	struct lws *wsi;

	if (r == NULL)
		return NULL;
	info.context = wss_context(wss);
	info.address = to->address;
	info.port = to->port;
	info.host = info.origin = to->host;
	info.path = to->path;
	info.method = "POST";
	info.ssl_connection = LCCSCF_USE_SSL | LCCSCF_HTTP_NO_FOLLOW_REDIRECT;
	info.alpn = "http/1.1";
	info.protocol = info.local_protocol_name = HTTPS_PROTOCOL;
	info.retry_and_idle_policy = &wss_no_validity_checks;
	info.userdata = r;
	r->dialling = true;
	wsi = lws_client_connect_via_info(&info);
	r->dialling = false;
	if (wsi == NULL || r->destroyed) {
		free_request(r);
		return NULL;
	}
	r->wsi = wsi;
	r->done = done;
	r->owner = owner;
	return r;
}

void https_cancel(struct https_request *r)
{
	if (r == NULL)
		return;
	r->done = NULL;
	lws_set_timeout(r->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
}
