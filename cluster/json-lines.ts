/** A stream of bytes as JSON values, one for each complete line: what a cut connection leaves unfinished is no value. */

/** A line longer than this is no event of an API server, whose requests are limited to 3 MiB. */
const lineBytesMax = 64 * 1024 * 1024;

export class JsonLineError extends Error {}

/** `onBytes` hears of each piece that comes in. Throws JsonLineError for a line that is not JSON. */
export async function* jsonLines(bytes: AsyncIterable<Uint8Array>, onBytes: () => void): AsyncGenerator<unknown> {
  let pending: Buffer[] = [];
  let size = 0;
  for await (const chunk of bytes) {
    onBytes();
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
      const line = Buffer.concat([...pending, chunk.subarray(from, end)]).toString('utf8');
      pending = [];
      size = 0;
      from = end + 1;
      if (line.trim() !== '') yield parse(line);
    }
    if (from === chunk.length) continue;
    pending.push(Buffer.from(chunk.subarray(from)));
    size += chunk.length - from;
    if (size > lineBytesMax) throw new JsonLineError(`a line is longer than ${lineBytesMax} bytes`);
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new JsonLineError(`a line of the stream is not JSON: ${line.slice(0, 100)}`);
  }
}
