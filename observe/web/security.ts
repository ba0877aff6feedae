/**
 * Who may read the page's listener, and what its answers may do in a browser.
 *
 * - It only looks: GET and HEAD.
 * - A name that was made to point at loopback is refused (DNS rebinding), and so is whatever another site's page asks for.
 */
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';

const LOCAL_HOST = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

export interface Refused {
  status: number;
  error: string;
  expected: string;
}

/** Undefined: the request may be answered. */
export function refusalOf({ method, headers }: Pick<IncomingMessage, 'method' | 'headers'>): Refused | undefined {
  const { host = '', origin } = headers;
  if (!LOCAL_HOST.test(host)) return { status: 403, error: 'host is not local', expected: 'Host: localhost' };
  if (method !== 'GET' && method !== 'HEAD')
    return { status: 405, error: `method ${method}`, expected: 'GET: the page has no way to change anything' };
  if (origin !== undefined && origin !== `http://${host}`)
    return { status: 403, error: 'another origin asks', expected: 'a request of this page' };
  const site = headers['sec-fetch-site'];
  const isNavigation = headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document';
  if (site !== undefined && site !== 'same-origin' && site !== 'none' && !isNavigation)
    return { status: 403, error: 'another site asks', expected: 'a request of this page' };
  return undefined;
}

/** `scripts`: hashes of inline scripts beside those of the page's own origin. */
export const securityHeaders = (scripts: readonly string[] = []): OutgoingHttpHeaders => ({
  'content-security-policy': [
    "default-src 'none'",
    `script-src ${["'self'", ...scripts.map((hash) => `'${hash}'`)].join(' ')}`,
    "style-src 'self'",
    "img-src 'self'",
    "font-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    'trusted-types lit-html',
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'permissions-policy': 'camera=(), microphone=(), geolocation=(), payment=(), usb=()',
});
