/**
 * What is the emulator's fault and nobody else's.
 *
 * Linux patches its own code while it runs (static keys): a breakpoint goes over the first byte, every processor is told, and the rest
 * follows. With one thread for each emulated processor QEMU runs the breakpoint once in some hours of boots after it was taken away, and
 * the kernel, which no longer expects it, dies of "int3". No code of ours can bring that about: programs in BPF have no such instruction.
 */

/** Whether a guest's console tells of that death. */
export function lostByEmulator(console: string): boolean {
  const oops = console.indexOf('Oops: int3:');
  return oops >= 0 && console.indexOf('Kernel panic - not syncing', oops) > oops;
}
