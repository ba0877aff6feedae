/** What the runtime remembers of ADD (`prevResult`; 0.4.0 and later all have this form), as far as CHECK needs it. */
import { cniCodes } from '../../cluster/cni-types.ts';
import { fail } from './failure.ts';

/** Addresses of the container's interface. */
export function promisedAddresses(prevResult: Record<string, unknown>, ifname: string): string[] {
  const index = list(prevResult.interfaces).findIndex((entry) => entry.name === ifname && text(entry.sandbox) !== '');
  if (index < 0) {
    const expected = 'expected the interface that ADD reported';
    fail(cniCodes.invalidConfig, `prevResult.interfaces has no ${ifname} with a sandbox, ${expected}`);
  }
  return list(prevResult.ips)
    .filter((ip) => (ip.interface ?? index) === index)
    .map((ip) => text(ip.address));
}

function list(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter((entry) => entry !== null && typeof entry === 'object') : [];
}
function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
