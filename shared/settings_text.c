/* SPDX-License-Identifier: Apache-2.0 */
/* What a settings table says to people: the effective values of one document, and the reference page of all documents. */
#include "settings.h"

#include <string.h>

/* "sessions.max  500  calls  default 10000": the columns of the explanation. */
static void explain_line(const char *path, const char *value, const struct vl_setting *setting, bool given, FILE *to)
{
	const char *unit = setting->unit == NULL ? "" : setting->unit;

	if (!given)
		fprintf(to, "%-36s %-34s %-10s default\n", path, value, unit);
	else if (setting->fallback != NULL)
		fprintf(to, "%-36s %-34s %-10s default %s\n", path, value, unit, setting->fallback);
	else
		fprintf(to, "%-36s %s\n", path, value);
}

static void explain_members(const struct vl_setting *members, const cJSON *object, char path[VL_JSON_PATH_SIZE], FILE *to);

static void explain_value(
	const struct vl_setting *setting, const cJSON *value, char path[VL_JSON_PATH_SIZE], bool given, FILE *to)
{
	size_t len = strlen(path);

	if (setting->type == VL_SETTING_OBJECT) {
		if (value == NULL && setting->present != 0)
			explain_line(path, "none", setting, false, to);
		else
			explain_members(setting->members, value, path, to);
		return;
	}
	if (setting->type == VL_SETTING_LIST && setting->members[0].type == VL_SETTING_OBJECT && cJSON_GetArraySize(value) > 0) {
		unsigned int index = 0;
		const cJSON *item;
		cJSON_ArrayForEach(item, value)
		{
			vl_json_path_index(path, index++);
			explain_value(&setting->members[0], item, path, true, to);
			path[len] = '\0';
		}
		return;
	}
	char *text = value == NULL ? NULL : cJSON_PrintUnformatted(value);
	explain_line(path, text == NULL ? "none" : text, setting, given, to);
	cJSON_free(text);
}

static void explain_members(const struct vl_setting *members, const cJSON *object, char path[VL_JSON_PATH_SIZE], FILE *to)
{
	size_t len = strlen(path);

	for (const struct vl_setting *setting = members; setting->name != NULL; setting++) {
		const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, setting->name);
		cJSON *fallback = value == NULL && setting->fallback != NULL ? cJSON_Parse(setting->fallback) : NULL;
		vl_json_path_member(path, setting->name);
		explain_value(setting, value != NULL ? value : fallback, path, value != NULL, to);
		path[len] = '\0';
		cJSON_Delete(fallback);
	}
}

void vl_settings_explain(const struct vl_setting *members, const cJSON *document, FILE *to)
{
	char path[VL_JSON_PATH_SIZE] = "";

	explain_members(members, document, path, to);
}

/* Type and range in words. */
static void reference_type(const struct vl_setting *setting, FILE *to)
{
	switch (setting->type) {
	case VL_SETTING_STRING:
		if (setting->expected != NULL)
			fprintf(to, "%s", setting->expected);
		else
			fprintf(to, "string, %lld to %lld bytes", (long long)setting->min,
				setting->max > 0 ? (long long)setting->max : (long long)setting->size - 1);
		break;
	case VL_SETTING_INTEGER:
		fprintf(to, "integer, %lld to %lld", (long long)setting->min, (long long)setting->max);
		break;
	case VL_SETTING_BOOL:
		fprintf(to, "true or false");
		break;
	case VL_SETTING_ENUM:
		for (int i = 0; setting->words[i] != NULL; i++)
			fprintf(to, "%s`\"%s\"`", i > 0 ? ", " : "", setting->words[i]);
		break;
	case VL_SETTING_TEXT:
		fprintf(to, "%s", setting->expected);
		break;
	case VL_SETTING_PAIR:
		fprintf(to, "list of two integers [first, last], %lld to %lld", (long long)setting->min, (long long)setting->max);
		break;
	case VL_SETTING_OBJECT:
	case VL_SETTING_TREE:
		fprintf(to, "object");
		break;
	case VL_SETTING_LIST:
		fprintf(to, "list of %lld to %lld: ", (long long)setting->min, (long long)setting->max);
		reference_type(&setting->members[0], to);
		break;
	}
}

static void reference_members(const struct vl_setting *members, char path[VL_JSON_PATH_SIZE], FILE *to)
{
	size_t len = strlen(path);

	for (const struct vl_setting *setting = members; setting->name != NULL; setting++) {
		vl_json_path_member(path, setting->name);
		fprintf(to, "| `%s` | ", path);
		reference_type(setting, to);
		if (setting->required)
			fprintf(to, " | required");
		else if (setting->fallback != NULL)
			fprintf(to, " | `%s`", setting->fallback);
		else
			fprintf(to, " | %s", setting->type == VL_SETTING_OBJECT && setting->present == 0 ? "" : "none");
		fprintf(to, " | %s | %s | %s |\n", setting->unit == NULL ? "" : setting->unit, setting->reloadable ? "yes" : "",
			setting->meaning);
		const struct vl_setting *below = setting;
		if (setting->type == VL_SETTING_LIST) {
			strncat(path, "[]", VL_JSON_PATH_SIZE - strlen(path) - 1);
			below = &setting->members[0];
		}
		if (below->type == VL_SETTING_OBJECT)
			reference_members(below->members, path, to);
		path[len] = '\0';
	}
}

void vl_settings_reference(const struct vl_setting *members, FILE *to)
{
	char path[VL_JSON_PATH_SIZE] = "";

	fprintf(to, "| setting | value | default | unit | reload | meaning |\n|---|---|---|---|---|---|\n");
	reference_members(members, path, to);
}
