/** BPF links by their pins, which outlive the agent. */
import { existsSync } from 'node:fs';
import { type BpfLink, isErrno, openPinnedLink } from '../native/index.ts';

/** Undefined: nothing is pinned there, or no longer. */
export function openLinkIfPinned(path: string): BpfLink | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return openPinnedLink(path);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
