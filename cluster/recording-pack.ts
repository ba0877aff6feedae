/**
 * Packs one file of a recording, beside the agent's work.
 *
 * - The packed file appears whole or not at all, and only then the plain one goes: a crash in between leaves both, and the plain one counts.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGzip, createZstdCompress } from 'node:zlib';
import { ENDINGS, type Packing } from './recording-files.ts';

export async function packPart(plain: string, packing: Exclude<Packing, 'none'>): Promise<void> {
  const packed = plain.slice(0, -ENDINGS.none.length) + ENDINGS[packing];
  const unfinished = `${packed}.part`;
  try {
    const packer = packing === 'gzip' ? createGzip() : createZstdCompress();
    await pipeline(createReadStream(plain), packer, createWriteStream(unfinished, { mode: 0o600 }));
    await rename(unfinished, packed);
    await rm(plain, { force: true });
  } catch (error) {
    await rm(unfinished, { force: true });
    // The oldest files go when there is no more room for them.
    if (
      await stat(plain).then(
        () => true,
        () => false,
      )
    )
      throw error;
  }
}
