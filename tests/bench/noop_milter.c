/*
 * A milter that looks at everything and does nothing: the yardstick for what any milter costs Postfix.
 * It registers the callbacks that Restante registers and negotiates the same steps away, the replies to header fields
 * and body pieces among them.  Usage: noop_milter SOCKET-PATH
 */
#include <libmilter/mfapi.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static sfsistat negotiate(SMFICTX *context, unsigned long actions, unsigned long steps, unsigned long third,
                          unsigned long fourth, unsigned long *our_actions, unsigned long *our_steps,
                          unsigned long *our_third, unsigned long *our_fourth)
{
    (void)context, (void)third, (void)fourth;
    *our_actions = actions & (SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_DELRCPT);
    *our_steps = steps & (SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOUNKNOWN | SMFIP_NODATA | SMFIP_NR_HDR | SMFIP_NR_BODY);
    *our_third = *our_fourth = 0;
    return SMFIS_CONTINUE;
}

static sfsistat envelope(SMFICTX *context, char **arguments)
{
    (void)context, (void)arguments;
    return SMFIS_CONTINUE;
}

static sfsistat header(SMFICTX *context, char *name, char *value)
{
    (void)context, (void)name, (void)value;
    return SMFIS_NOREPLY;
}

static sfsistat body(SMFICTX *context, unsigned char *data, size_t size)
{
    (void)context, (void)data, (void)size;
    return SMFIS_NOREPLY;
}

static sfsistat nothing(SMFICTX *context)
{
    (void)context;
    return SMFIS_CONTINUE;
}

int main(int count, char **arguments)
{
    static char place[512];
    struct smfiDesc description = {
        .xxfi_name = "noop",
        .xxfi_version = SMFI_VERSION,
        .xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_DELRCPT,
        .xxfi_envfrom = envelope,
        .xxfi_envrcpt = envelope,
        .xxfi_header = header,
        .xxfi_eoh = nothing,
        .xxfi_body = body,
        .xxfi_eom = nothing,
        .xxfi_abort = nothing,
        .xxfi_close = nothing,
        .xxfi_negotiate = negotiate,
    };

    if (count != 2 || strlen(arguments[1]) > sizeof place - 6)
        return 64;
    snprintf(place, sizeof place, "unix:%s", arguments[1]);
    umask(0117);
    if (smfi_setconn(place) == MI_FAILURE || smfi_register(description) == MI_FAILURE)
        return 69;
    return smfi_main();
}
