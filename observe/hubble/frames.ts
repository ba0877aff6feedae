/**
 * Answers of GetFlows as gRPC puts them on the wire, many in one write: a message costs a reader next to nothing then.
 *
 * - What an answer is in bytes is made once for all readers that ask for the same fields.
 */

/** A flag whether the message is compressed, and its length (gRPC over HTTP2, "Length-Prefixed-Message"). */
const PREFIX_BYTES = 5;

/**
 * Stands where grpc-js expects the bytes of one message: it takes `byteLength`, puts the prefix in front of so much room, and has the
 * bytes copied behind it (serializeMessage in grpc-js). Each message brings a prefix of its own here, the first one's over grpc-js's.
 */
export class Frames {
  readonly #messages: readonly Buffer[];
  readonly byteLength: number;

  constructor(messages: readonly Buffer[]) {
    this.#messages = messages;
    let length = -PREFIX_BYTES;
    for (const message of messages) length += PREFIX_BYTES + message.length;
    this.byteLength = length;
  }

  copy(target: Buffer, start: number): void {
    let at = start - PREFIX_BYTES;
    for (const message of this.#messages) {
      target[at] = 0;
      target.writeUInt32BE(message.length, at + 1);
      message.copy(target, at + PREFIX_BYTES);
      at += PREFIX_BYTES + message.length;
    }
  }
}

/** Flows that several readers may be at at the same time. */
const KEPT = 4096;

export class EncodedFlows {
  #numbers: Float64Array | undefined;
  readonly #bytes: Buffer[] = [];
  readers = 0;

  /** Of the flow with that number, made if it is not there. */
  of(number: number, make: () => Buffer): Buffer {
    if (this.readers < 2) return make();
    this.#numbers ??= new Float64Array(KEPT).fill(-1);
    const slot = number % KEPT;
    const kept = this.#numbers[slot] === number ? this.#bytes[slot] : undefined;
    if (kept) return kept;
    const bytes = make();
    this.#numbers[slot] = number;
    this.#bytes[slot] = bytes;
    return bytes;
  }
}
