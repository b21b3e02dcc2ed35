using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Perf.Gpu.Probes;

/// <summary>
/// Probes of Hopper's units: a 64×64 by 64×N product of small integers, whose sums are exact in any order, brought by tensor maps and multiplied by
/// one warp group. What differs shows at once: a swizzle, a descriptor's distances, a fragment's layout, a parity.
/// </summary>
internal static class GroupProbes
{
    private const int Threads = 128;

    public static IEnumerable<InstructionProbe> All() =>
    [
        .. from columns in (int[])[64, 128, 256] from alongA in (bool[])[true, false] from alongB in (bool[])[true, false] select Product(columns, alongA, alongB),
        .. from columns in (int[])[64, 128] from alongB in (bool[])[true, false] select LeftInRegisters(columns, alongB),
        // Registers change hands as in the products' kernels, 3 · 168 = 40 + 2 · 232: what does not add up waits for ever.
        InstructionProbes.Make("setmaxnreg", [Forms.MoreRegisters, Forms.FewerRegisters], new(1), [1], 1, ProbeWords.Bits, (k, _, target, thread) =>
        {
            k.If(thread < Threads, () => k.SetRegisters(40, more: false), () => k.SetRegisters(232, more: true));
            target[0] = thread * 3;
        }, 3 * Threads),
    ];

    // 64×16 numbers, each other than its neighbours, in registers.
    private static InstructionProbe LeftInRegisters(int columns, bool alongB) => InstructionProbes.Make(
        $"wgmma n{columns} r{(alongB ? "k" : "t")}", [columns == 64 ? Forms.GroupMultiplyRegisters64 : Forms.GroupMultiplyRegisters128], new(1), [1], columns / 2, ProbeWords.Bits,
        (k, _, target, thread) =>
        {
            var b = new GroupTile(k, k.ArgumentMap("b", GroupTile.BoxRows(alongB, columns)), alongB, columns, 1);
            Mbarriers full = k.Mbarriers(1);
            S32 zero = k.Integer(0);
            k.If(thread.Is(0), () =>
            {
                full.Init(1);
                k.MbarrierFence();
            });
            k.Barrier();
            k.If(thread.Is(0), () =>
            {
                full.ArriveExpecting(zero, b.Bytes);
                b.Copy(b.Buffer(zero), zero, zero, full.Address(zero));
            });
            full.Wait(zero, zero);
            F32 Number(int i) => ((thread * 8 + i) % 11 - 5).ToF32();
            Packed[] left = [.. Enumerable.Range(0, 4).Select(i => Packed.Of(Number(2 * i), Number(2 * i + 1)))];
            var sums = new GroupAccumulator(k, columns);
            k.GroupFence();
            k.GroupMultiply(sums, left, b.Descriptor(b.Buffer(zero), 16), thread < 0, alongB);
            k.GroupCommit();
            k.GroupWait(0);
            for (int octet = 0; octet < columns / 8; octet++)
                for (int register = 0; register < 4; register++) target[octet * 4 + register] = sums[octet, register].Bits();
        }, Threads) with { MatrixRows = [alongB ? columns : 64] };

    private static InstructionProbe Product(int columns, bool alongA, bool alongB)
    {
        Form[] forms =
        [
            Forms.ParameterAddress, Forms.GenericParameter, Forms.MbarrierInit, Forms.MbarrierArrive, Forms.MbarrierExpect, Forms.MbarrierWait, Forms.MbarrierFence, Forms.ProxyFence,
            Forms.TensorCopy, Forms.GroupFence, Forms.GroupCommit, Forms.GroupWait, columns == 64 ? Forms.GroupMultiply64 : columns == 128 ? Forms.GroupMultiply128 : Forms.GroupMultiply256,
        ];
        string Name(bool along) => along ? "k" : "t";
        // A matrix that lies the other way has only 64 rows of 64: the other squares are outside and read as zero.
        return InstructionProbes.Make($"wgmma n{columns} {Name(alongA)}{Name(alongB)}", forms, new(1), [1], columns / 2, ProbeWords.Bits, (k, _, target, thread) =>
        {
            TensorMap mapA = k.ArgumentMap("a", GroupTile.BoxRows(alongA, 64)), mapB = k.ArgumentMap("b", GroupTile.BoxRows(alongB, columns));
            GroupTile a = new(k, mapA, alongA, 64, 1), b = new(k, mapB, alongB, columns, 1);
            Mbarriers full = k.Mbarriers(1), done = k.Mbarriers(1);
            S32 zero = k.Integer(0);
            k.If(thread.Is(0), () =>
            {
                full.Init(1);
                done.Init(Threads);
                k.MbarrierFence();
            });
            k.Barrier();
            k.If(thread.Is(0), () =>
            {
                full.ArriveExpecting(zero, a.Bytes + b.Bytes);
                a.Copy(a.Buffer(zero), zero, zero, full.Address(zero));
                b.Copy(b.Buffer(zero), zero, zero, full.Address(zero));
            });
            full.Wait(zero, zero);
            // A number changed by a thread, behind a proxy fence: row 0, place 0 of A.
            k.If(thread.Is(1), () =>
            {
                k.Append(Forms.Memory(Forms.StoreShared, RegisterType.B32, 2, 1), [], [a.Buffer(zero).Value.Register, k.UseRegister(((S32)((BFloat16)3f).Bits).Value, RegisterType.B32)], 0);
                k.ProxyFence();
            });
            k.Barrier();
            var sums = new GroupAccumulator(k, columns);
            Pred add = thread < 0, always = thread >= 0;
            k.GroupFence();
            for (int depth = 0; depth < GroupTile.Depth; depth += 16)
                k.GroupMultiply(sums, a.Descriptor(a.Buffer(zero), depth), b.Descriptor(b.Buffer(zero), depth), depth == 0 ? add : always, alongA, alongB);
            k.GroupCommit();
            k.GroupWait(0);
            done.Arrive(zero);
            done.Wait(zero, zero);
            for (int octet = 0; octet < columns / 8; octet++)
                for (int register = 0; register < 4; register++) target[octet * 4 + register] = sums[octet, register].Bits();
        }, Threads) with { MatrixRows = [64, alongB ? columns : 64] };
    }
}
