using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Perf.Gpu.Probes;

/// <summary>Probes of loads, stores, atomics, asynchronous copies and what the hardware says about a thread.</summary>
internal static class MemoryProbes
{
    private const int Lanes = 32, Words = 4;

    public static IEnumerable<InstructionProbe> All() =>
    [
        .. Forms.LoadGlobal.Zip(Forms.StoreGlobal, (load, store) => InstructionProbes.Make(
            $"{load.Spelling} {load.Destinations[0]}", [load, store], new(1), InstructionProbes.Noise(1, Lanes * Words), Words, ProbeWords.Bits,
            (k, source, target, thread) => Move(k, load, source.Offset(thread * Words).Address.Value, store, target.Address.Value))),
        .. Forms.LoadShared.Zip(Forms.StoreShared, (load, store) => InstructionProbes.Make(
            $"{load.Spelling} {load.Destinations[0]}", [load, store, Forms.SharedAddress, Forms.Barrier], new(1), InstructionProbes.Noise(2, Lanes * Words), Words, ProbeWords.Bits,
            (k, source, target, thread) => ThroughShared(k, load, source.Offset(thread * Words), store, target))),
        InstructionProbes.Make("red and atom", [Forms.AddGlobalF32, Forms.AtomicAddGlobal], new(1), new int[Lanes], 3, ProbeWords.Bits, (k, source, target, thread) =>
        {
            target[0] = target.AtomicAdd(1, thread + 5) + 7;
            new Pointer<F32>(target.Address).AtomicAdd(2, thread.ToF32() * 0.5f);
            // All threads of the block together.
            source.AtomicAdd(0, thread);
        }),
        InstructionProbes.Make("special registers", [Forms.Special, Forms.Fence], new(3), [0], 4, ProbeWords.Bits, (k, _, target, _) =>
        {
            S32[] values = [k.Thread, k.Lane, k.BlockX, k.GridX];
            for (int i = 0; i < values.Length; i++) target[i] = values[i];
            k.Fence();
        }),
        InstructionProbes.Make(
            "cp.async", [Forms.CopyAsync, Forms.CopyCommit, Forms.CopyWait, Forms.WarpBarrier], new(1), InstructionProbes.Noise(3, Lanes * Words), Words, ProbeWords.Bits,
            (k, source, target, thread) =>
            {
                Shared<S32> buffer = k.Shared<S32>(Lanes * Words);
                // 0 to 15 bytes are read; zeros follow. Whole words only, as a copy wants.
                k.CopyAsync(k.SharedAddress(0) + (thread << 4), source.Offset(thread * Words).Address, (thread % 5) << 2);
                k.CopyCommit();
                k.CopyWait(0);
                k.WarpBarrier();
                for (int i = 0; i < Words; i++) target[i] = buffer[(thread ^ 1) * Words + i];
            }),
        Parameters(),
    ];

    private static void Move(KernelBuilder k, Form load, Value from, Form store, Value to)
    {
        int[] registers = [.. load.Destinations.Select(k.NewRegister)];
        k.Append(load, registers, [k.UseRegister(from, load.Sources[0])], 0);
        k.Append(store, [], [k.UseRegister(to, store.Sources[0]), .. registers], 0);
    }

    // Global to registers by the wide global load, to shared and back by the forms in question, from the neighbour's place.
    private static void ThroughShared(KernelBuilder k, Form load, Pointer<S32> source, Form store, Pointer<S32> target)
    {
        Shared<S32> buffer = k.Shared<S32>(Lanes * Words);
        Form wide = Pair(Forms.LoadGlobal, load), back = Pair(Forms.StoreGlobal, load);
        int[] registers = [.. wide.Destinations.Select(k.NewRegister)];
        k.Append(wide, registers, [source.Address.Value.Register], 0);
        S32 own = k.SharedAddress(0) + (k.Lane << 4), other = k.SharedAddress(0) + ((k.Lane ^ 1) << 4);
        k.Append(store, [], [own.Value.Register, .. registers], 0);
        k.Barrier();
        int[] loaded = [.. load.Destinations.Select(k.NewRegister)];
        k.Append(load, loaded, [other.Value.Register], 0);
        k.Append(back, [], [target.Address.Value.Register, .. loaded], 0);
        _ = buffer;
    }

    private static Form Pair(Form[] table, Form like) => Forms.Memory(table, like.Destinations[0], like.ElementBytes, like.Destinations.Length);

    private static InstructionProbe Parameters() => InstructionProbes.Make(
        "parameters", [Forms.ParameterB64, Forms.ParameterB32, Forms.ParameterF32, Forms.ParameterF64], new(1), [1], 4, ProbeWords.Bits,
        (k, source, target, _) =>
        {
            S32 integer = k.ArgumentS32("integer");
            F32 single = k.ArgumentF32("single");
            F64 number = k.ArgumentF64("number");
            target[0] = integer + source[0];
            target[1] = single.Bits();
            new Pointer<F64>(target.Offset(2).Address)[0] = number;
        }) with { Numbers = [-123456, 1.1f, -2.2e-100] };
}
