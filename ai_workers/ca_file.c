/* SPDX-License-Identifier: Apache-2.0 */
/* See ca_file.h. OpenSSL's own reader, because it is what libwebsockets loads the file with. */
#include "ca_file.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "../shared/file.h"

#define CA_FILE_MAX (8u * 1024u * 1024u) /* a whole system's store has a quarter of a megabyte */

/* Certificates in the text, or -EINVAL when what calls itself one is none. */
static int count_certificates(const struct vl_file *file)
{
	BIO *bio = BIO_new_mem_buf(file->text, (int)file->len);
	X509 *certificate;
	int count = 0;

	if (bio == NULL)
		return -ENOMEM;
	ERR_clear_error();
	while ((certificate = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL)) != NULL) {
		X509_free(certificate);
		count++;
	}
	/* Behind the last one it finds no further beginning; anything else is a certificate that cannot be read. */
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		count = -EINVAL;
	ERR_clear_error();
	BIO_free(bio);
	return count;
}

int ca_file_check(const char *path, struct vl_error *error)
{
	struct vl_file file;
	int r = vl_file_read(path, CA_FILE_MAX, &file, error), count;

	if (r != 0)
		return r;
	r = vl_file_check_trusted(path, &file, geteuid(), error);
	if (r != 0) {
		vl_file_free(&file);
		return r;
	}
	count = count_certificates(&file);
	if (count == -ENOMEM)
		vl_error_set(error, "out of memory");
	else if (count < 0)
		vl_error_set(error, "holds a certificate that cannot be read");
	else if (count == 0 && memmem(file.text, file.len, "-----BEGIN ", 11) == NULL)
		vl_error_set(error, "is not a PEM file");
	else if (count == 0)
		vl_error_set(error, "is a PEM file without a certificate");
	vl_file_free(&file);
	return count > 0 ? 0 : count == 0 ? -EINVAL : count;
}
