/**
 * Takes secrets out of JSON before it is written down or shown.
 *
 * - By kind: `data` and `stringData` of a Secret. By name: strings under keys, environment variables and flags that are
 *   named like secrets; in texts what stands so in YAML, JSON or an INI file. By look: private keys, tokens and passwords in URLs, and
 *   keys of IPsec, wherever they stand.
 * - Labels are left alone: they are names for all to see, and identities are made of them.
 * - What holds no secret is returned as it is, not copied.
 */

export const REDACTED = '[redacted]';

const SECRET_NAME =
  /(^|[^a-z])(pass(wd|word|phrase)?|pwd|secrets?|tokens?|credentials?|psk|auth(orization)?|cookie|(private|preshared|shared|api|access|secret|encryption|signing|client)[-_. ]?key([-_.]data)?)([^a-z]|$)/;
/** Names that point at a secret or describe one, and hold none. */
const REFERENCE = /(name|ref|path|file|seconds|type|mode|policy|namespace|class|url|enabled)$/;
const LABELS = new Set(['labels', 'security-labels', 'matchLabels', 'selector', 'nodeSelector']);
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';

const LOOKS: readonly RegExp[] = [
  /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g,
  /\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g,
  /\b(AKIA|ASIA)[0-9A-Z]{16}\b/g,
  /\b(gh[pousr]_|github_pat_|glpat-|xox[abpr]-|sk-)[\w-]{16,}/g,
  /(?<=\b(bearer|basic)\s+)[\w+/.~=-]{8,}/gi,
  /(?<=\b[a-z][a-z0-9+.-]*:\/\/[^\s/:@]*:)[^\s/@]+(?=@)/gi,
  /(?<=\brfc\d{4}\([\w()-]+\)\s+)(0x)?[0-9a-f]{16,}/gi,
];
/** `token: x`, `"token":"x"`, `PrivateKey = x`. Never `token=x` alone: labels are written so, and keys are made of them. */
const IN_TEXT =
  /(["']?)([A-Za-z][\w.-]*)\1([ \t]*:[ \t]+|[ \t]+=[ \t]+|(?<=["'])[ \t]*:[ \t]*)("[^"\\]*"|'[^'\\]*'|[^\s"',;{}[\]]+)/g;
const FLAG = /^(--?[\w.-]+)=([\s\S]+)$/;
const ASSIGNMENT = /^([A-Z][A-Z0-9_]*)=([\s\S]+)$/;

/** Any of the above may only be where this is: most texts are done with after one look. */
const SUSPECT = /-----BEGIN|eyJ|AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|xox|sk-|:\/\/|rfc\d|\b(?:bearer|basic)\s/i;
const ASSIGNS = /[:=]/;
const NAMES_SECRET = /pass|pwd|secret|token|credential|psk|auth|cookie|key/i;

/** Keys of JSON are few and come again and again. */
const NAMES_KEPT = 10_000;
const judged = new Map<string, boolean>();

/** `apiKey` and `API_KEY` read alike. */
function isSecretName(name: string): boolean {
  const known = judged.get(name);
  if (known !== undefined) return known;
  const words = name.replace(/([a-z0-9])([A-Z])/g, '$1-$2').toLowerCase();
  const isSecret = SECRET_NAME.test(words) && !REFERENCE.test(words);
  if (judged.size < NAMES_KEPT) judged.set(name, isSecret);
  return isSecret;
}

/** How much of a value is secret: what looks like it, all strings but those in objects, or every string. */
type Hide = 'looks' | 'strings' | 'all';

export function redact<T>(value: T): T {
  return walk(value, 'looks') as T;
}

function walk(value: unknown, hide: Hide): unknown {
  if (typeof value === 'string') return hide === 'looks' || value === '' ? redactText(value) : REDACTED;
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return redactList(value, hide);
  return redactObject(value as Record<string, unknown>, hide === 'all' ? 'all' : 'looks');
}

function redactObject(object: Record<string, unknown>, hide: Hide): unknown {
  const isSecret = object['kind'] === 'Secret';
  const isVariable = typeof object['name'] === 'string' && isSecretName(object['name']);
  let copy: Record<string, unknown> | undefined;
  for (const [key, inner] of Object.entries(object)) {
    if (LABELS.has(key) && hide !== 'all') continue;
    const isContent = isSecret && (key === 'data' || key === 'stringData');
    const isNamed = (isVariable && key === 'value') || isSecretName(key);
    const clean =
      key === LAST_APPLIED ? redactApplied(inner) : walk(inner, isContent ? 'all' : isNamed ? 'strings' : hide);
    if (clean === inner) continue;
    copy ??= { ...object };
    copy[key] = clean;
  }
  return copy ?? object;
}

function redactList(list: readonly unknown[], hide: Hide): unknown {
  let copy: unknown[] | undefined;
  list.forEach((item, i) => {
    const before = list[i - 1];
    const follows =
      typeof before === 'string' && /^--?[\w.-]+$/.test(before) && isSecretName(before.replace(/^-+/, ''));
    const clean = walk(item, follows && typeof item === 'string' && !item.startsWith('-') ? 'strings' : hide);
    if (clean === item) return;
    copy ??= [...list];
    copy[i] = clean;
  });
  return copy ?? list;
}

/** The annotation in which kubectl keeps the whole object as text. */
function redactApplied(text: unknown): unknown {
  if (typeof text !== 'string') return text;
  try {
    const object: unknown = JSON.parse(text);
    const clean = redact(object);
    return clean === object ? text : JSON.stringify(clean);
  } catch {
    return REDACTED;
  }
}

function redactText(text: string): string {
  if (text.includes('=')) {
    const assigned = FLAG.exec(text) ?? ASSIGNMENT.exec(text);
    if (assigned?.[1] && isSecretName(assigned[1].replace(/^-+/, ''))) return `${assigned[1]}=${REDACTED}`;
  }
  let clean = text;
  if (SUSPECT.test(text)) for (const look of LOOKS) clean = clean.replace(look, REDACTED);
  if (!ASSIGNS.test(clean) || !NAMES_SECRET.test(clean)) return clean;
  return clean.replaceAll(IN_TEXT, (all, quote: string, name: string, sign: string, value: string) => {
    if (!isSecretName(name) || value.length < 3 || value.includes(REDACTED) || /^(bearer|basic)$/i.test(value))
      return all;
    const mark = /^["']/.test(value) ? value[0] : '';
    return `${quote}${name}${quote}${sign}${mark}${REDACTED}${mark}`;
  });
}
