/** Only one death of a guest is the emulator's fault. */
import { describe, expect, it } from 'vitest';
import { lostByEmulator } from './emulator.ts';

/** As QEMU 7.2 and Debian's 6.12 said it at 19:40 on 2026-11-23, shortened. */
const lost = `[    1.391547] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI
[    1.391945] CPU: 0 UID: 0 PID: 18 Comm: rcu_preempt Not tainted 6.12.117+deb12-cloud-amd64 #1  Debian 6.12.117-1~deb12u1
[    1.392168] RIP: 0010:sched_clock_cpu+0x9/0x190
[    1.394039]  </TASK>
[    1.403389] Kernel panic - not syncing: Fatal exception in interrupt
`;

describe('a guest', () => {
  it('that died of a breakpoint in its own code was lost by the emulator', () => {
    expect(lostByEmulator(lost)).toBe(true);
  });

  it.each([
    ['nothing', ''],
    ['a breakpoint that it survived', lost.replace(/.*Kernel panic.*\n/, '')],
    ['another death', lost.replace('int3: 0000', '0000')],
    ['a death before the breakpoint', lost.split('\n').toReversed().join('\n')],
  ])('with %s on its console was not', (_, console) => {
    expect(lostByEmulator(console)).toBe(false);
  });
});
