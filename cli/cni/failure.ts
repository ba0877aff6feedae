/** A CNI failure: becomes the JSON error object of CNI spec 1.1, "Error", on stdout. */
import type { CniError } from '../../cluster/cni-types.ts';

export class CniFailure extends Error {
  readonly code: number;
  readonly details: string;
  constructor({ code, msg, details }: CniError) {
    super(msg);
    this.code = code;
    this.details = details;
  }
}

export function fail(code: number, msg: string, details = ''): never {
  throw new CniFailure({ code, msg, details });
}
