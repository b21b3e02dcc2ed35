using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Kernels.Cuda.Staging;
using Xunit;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>
/// A product of one warp group, brought by tensor maps, with one misuse of Hopper's units at a time. Without any it runs clean and is right.
/// </summary>
public sealed class PlantedHopperFaultTests
{
    private readonly SimulatorDevice _device = new();

    /// <summary>What is done wrong.</summary>
    public enum Misuse
    {
        None, NoInit, NoMbarrierFence, NoBarrierAfterInit, TwiceInit, InitByAll, TooFewBytes, TooManyBytes, CrookedBuffer, BeyondShared, CopyByAll, NoMap, NoArrival, TwoArrivals, NoWait,
        WrongParity, OddParity, ReadEarly, StoreOnMbarrier, NoProxyFence, NoBarrierAfterStore, NoGroupFence, TouchedAfterFence, HalfAWarp, OneWarpLess, ReadSumsEarly, WriteSumsEarly, NoGroupWait,
        OverwriteUnderWay, PlainDescriptor, AddToNothing, OverwriteUnread, ForgottenCopy, OneLaneWaits,
        LeftTouchedAfterFence, LeftTouchedUnderWay,
    }

    public static TheoryData<Misuse, string, string> Misuses => new()
    {
        { Misuse.NoInit, nameof(FaultKind.BadMbarrier), "was not set up" },
        { Misuse.TwiceInit, nameof(FaultKind.BadMbarrier), "set up twice" },
        { Misuse.InitByAll, nameof(FaultKind.BadMbarrier), "one thread does" },
        { Misuse.NoMbarrierFence, nameof(FaultKind.MissingFence), "without a fence" },
        // Warps that run before the first find nothing there, those after it a race.
        { Misuse.NoBarrierAfterInit, "SharedRace BadMbarrier", "set up" },
        { Misuse.TooFewBytes, nameof(FaultKind.BadMbarrier), "16 bytes more than were announced" },
        { Misuse.TooManyBytes, nameof(FaultKind.Deadlock), "16 announced bytes never come" },
        { Misuse.CrookedBuffer, nameof(FaultKind.Misaligned), "multiple of 1024" },
        { Misuse.BeyondShared, nameof(FaultKind.OutOfBounds), "of shared memory" },
        { Misuse.CopyByAll, nameof(FaultKind.DivergentWarp), "32 lanes start the same copy" },
        { Misuse.NoMap, nameof(FaultKind.BadDescriptor), "no tensor map" },
        { Misuse.NoArrival, nameof(FaultKind.Deadlock), "1 of 1 arrivals are missing" },
        { Misuse.TwoArrivals, nameof(FaultKind.BadMbarrier), "have all come" },
        { Misuse.NoWait, nameof(FaultKind.PendingCopy), "still copying" },
        { Misuse.WrongParity, nameof(FaultKind.PendingCopy), "still copying" },
        { Misuse.OddParity, nameof(FaultKind.BadMbarrier), "expected 0 or 1" },
        { Misuse.ReadEarly, nameof(FaultKind.PendingCopy), "still copying" },
        { Misuse.StoreOnMbarrier, nameof(FaultKind.PendingCopy), "part of an mbarrier" },
        { Misuse.NoProxyFence, nameof(FaultKind.MissingFence), "without a proxy fence" },
        { Misuse.NoBarrierAfterStore, nameof(FaultKind.SharedRace), "with no barrier in between" },
        { Misuse.NoGroupFence, nameof(FaultKind.MissingFence), "no fence comes before the first product" },
        { Misuse.TouchedAfterFence, nameof(FaultKind.MissingFence), "was written after the last fence" },
        { Misuse.HalfAWarp, nameof(FaultKind.DivergentWarp), "16 of 32 lanes" },
        { Misuse.OneWarpLess, nameof(FaultKind.ForgottenProduct), "did not run the same" },
        { Misuse.ReadSumsEarly, nameof(FaultKind.PendingProduct), "reads register" },
        { Misuse.WriteSumsEarly, nameof(FaultKind.PendingProduct), "writes register" },
        { Misuse.NoGroupWait, nameof(FaultKind.ForgottenProduct), "never waited for" },
        { Misuse.OverwriteUnderWay, nameof(FaultKind.SharedRace), "a matrix product under way still reads" },
        { Misuse.OverwriteUnread, nameof(FaultKind.SharedRace), "with no barrier in between" },
        { Misuse.PlainDescriptor, nameof(FaultKind.BadDescriptor), "swizzled over 128 bytes" },
        { Misuse.AddToNothing, nameof(FaultKind.UnsetRegister), "which nothing has set" },
        { Misuse.ForgottenCopy, nameof(FaultKind.ForgottenCopy), "that nobody waited for" },
        { Misuse.LeftTouchedAfterFence, nameof(FaultKind.MissingFence), "was written after the last fence" },
        { Misuse.LeftTouchedUnderWay, nameof(FaultKind.PendingProduct), "which a matrix product under way reads" },
        { Misuse.OneLaneWaits, nameof(FaultKind.SharedRace), "with no barrier in between" },
    };

    [Theory]
    [MemberData(nameof(Misuses))]
    public void A_misuse_is_caught_and_named(Misuse misuse, string kind, string words)
    {
        SimulatorFault fault = Assert.Throws<SimulatorFault>(() => Run(misuse));
        Assert.True(kind.Split(' ').Contains(fault.Kind.ToString()) && fault.Message.Contains(words, StringComparison.Ordinal), fault.Message);
        Assert.Contains("planted", fault.KernelName);
        Assert.DoesNotContain('\n', fault.Message);
    }

    [Fact]
    public void Without_misuse_it_runs_clean_and_is_right()
    {
        for (ulong seed = 1; seed < 5; seed++)
        {
            _device.Seed = seed;
            float[] sums = Run(Misuse.None);
            // All ones but A[0, 0], which a thread has set to 3: row 0 sums to 66, the others to 64.
            for (int i = 0; i < sums.Length; i++) Assert.Equal(i / 128 == 0 ? 66f : 64f, sums[i]);
        }
    }

    [Fact]
    public void Every_misuse_has_a_test() => Assert.Equal(Enum.GetValues<Misuse>().Skip(1).Order(), Misuses.Select(x => x.Data.Item1).Order());

    private float[] Run(Misuse misuse)
    {
        Kernel kernel = Stage(misuse);
        Tensor Ones(int rows) => _device.Create<BFloat16>(Enumerable.Repeat((BFloat16)1f, rows * 64).ToArray(), rows, 64);
        Tensor a = Ones(64), b = Ones(128), sums = _device.Create(DType.F32, 64, 128);
        _device.Launch(kernel, new(1), [KernelArgument.Map(a, 64, 64), KernelArgument.Map(b, 128, 64), sums]);
        return sums.ToArray<float>();
    }

    private static Kernel Stage(Misuse misuse)
    {
        bool Is(Misuse one) => misuse == one;
        var k = new KernelBuilder($"planted_{misuse}", 128);
        TensorMap mapA = k.ArgumentMap("a", 64), mapB = k.ArgumentMap("b", 128);
        Floats target = k.ArgumentFloats("sums", DType.F32);
        GroupTile a = new(k, mapA, along: true, 64, 1), b = new(k, mapB, along: true, 128, 1);
        Mbarriers full = k.Mbarriers(2);
        S32 zero = k.Integer(0), thread = k.Thread, bufferA = a.Buffer(zero), bufferB = b.Buffer(zero);
        Pred first = thread.Is(0);
        if (!Is(Misuse.NoInit))
            k.If(Is(Misuse.InitByAll) ? thread < 32 : first, () =>
            {
                full.Init(1);
                if (Is(Misuse.TwiceInit)) full.Init(1);
                if (!Is(Misuse.NoMbarrierFence)) k.MbarrierFence();
            });
        if (!Is(Misuse.NoBarrierAfterInit)) k.Barrier();
        if (Is(Misuse.StoreOnMbarrier)) k.If(first, () => Poke(k, full.Address(zero)));
        if (Is(Misuse.CopyByAll)) k.If(thread < 32, () => mapA.Copy(bufferA, zero, zero, full.Address(zero)));
        k.If(first, () =>
        {
            int bytes = a.Bytes + b.Bytes + (Is(Misuse.TooManyBytes) ? 16 : Is(Misuse.TooFewBytes) ? -16 : 0);
            if (!Is(Misuse.NoArrival)) full.ArriveExpecting(zero, bytes);
            if (Is(Misuse.TwoArrivals)) full.Arrive(zero);
            TensorMap source = Is(Misuse.NoMap) ? new TensorMap(k, target.Address, mapA.Box) : mapA;
            source.Copy(Is(Misuse.CrookedBuffer) ? bufferA + 128 : Is(Misuse.BeyondShared) ? bufferA + 1024 * 1024 : bufferA, zero, zero, full.Address(zero));
            mapB.Copy(bufferB, zero, zero, full.Address(zero));
        });
        if (Is(Misuse.OneLaneWaits)) k.If(k.Lane.Is(0), () => full.Wait(zero, zero));
        else if (Is(Misuse.OddParity)) full.Wait(zero, zero + 2);
        else if (!Is(Misuse.NoWait) && !Is(Misuse.ReadEarly)) full.Wait(zero, Is(Misuse.WrongParity) ? zero + 1 : zero);
        if (Is(Misuse.ReadEarly)) k.If(thread.Is(5), () => k.LoadFrom<S32>(Forms.LoadShared, bufferA.Value, 0, 4, 1));
        if (Is(Misuse.OverwriteUnread)) k.If(thread.Is(5), () => k.LoadFrom<S32>(Forms.LoadShared, bufferA.Value, 4, 4, 1));
        if (Is(Misuse.OverwriteUnread)) Again(k, first, full, mapA, bufferA);
        if (Is(Misuse.ForgottenCopy)) k.If(first, () => mapA.Copy(bufferA, zero, zero, full.Address(zero + 1)));
        else
        {
            // Misuses that end before keep their own line of blame.
            k.If(thread.Is(1), () =>
            {
                Poke(k, bufferA);
                if (!Is(Misuse.NoProxyFence)) k.ProxyFence();
            });
            if (!Is(Misuse.NoBarrierAfterStore)) k.Barrier();
            Multiply(k, misuse, a, b, bufferA, bufferB, thread, () => Again(k, first, full, mapA, bufferA), target);
        }
        return k.Build();
    }

    private static void Multiply(KernelBuilder k, Misuse misuse, GroupTile a, GroupTile b, S32 bufferA, S32 bufferB, S32 thread, Action again, Floats target)
    {
        bool Is(Misuse one) => misuse == one;
        var sums = new GroupAccumulator(k, 128);
        Pred never = thread < 0, always = thread >= 0;
        void Touch() => k.EmitTo(Forms.MovF32, sums.Registers.First(), ((F32)0f).Value);
        void Products()
        {
            if (!Is(Misuse.NoGroupFence)) k.GroupFence();
            if (Is(Misuse.TouchedAfterFence)) Touch();
            for (int depth = 0; depth < 64; depth += 16)
            {
                S64 left = a.Descriptor(bufferA, depth);
                if (Is(Misuse.PlainDescriptor)) left -= 1L << 62;
                k.GroupMultiply(sums, left, b.Descriptor(bufferB, depth), depth == 0 && !Is(Misuse.AddToNothing) ? never : always, alongA: true, alongB: true);
            }
            k.GroupCommit();
        }

        if (Is(Misuse.HalfAWarp)) k.If(k.Lane < 16, Products);
        else if (Is(Misuse.OneWarpLess)) k.If(thread < 96, Products);
        else Products();
        LeftInRegisters(k, misuse, b, bufferB);
        if (Is(Misuse.ReadSumsEarly)) _ = sums[0, 0];
        if (Is(Misuse.WriteSumsEarly)) Touch();
        if (Is(Misuse.OverwriteUnderWay)) again();
        if (!Is(Misuse.NoGroupWait)) k.GroupWait(0);
        if (Is(Misuse.OneWarpLess) || Is(Misuse.NoGroupWait)) return;
        for (int octet = 0; octet < 16; octet++)
            for (int register = 0; register < 4; register += 2)
                target.Row((k.Warp << 4) + Accumulator.Row(k.Lane, register), 128).Store(Accumulator.Column(k.Lane, 0) + 8 * octet, [sums[octet, register], sums[octet, register + 1]]);
    }

    // A product with its left operand in registers, whose result nobody wants.
    private static void LeftInRegisters(KernelBuilder k, Misuse misuse, GroupTile b, S32 bufferB)
    {
        if (misuse is not (Misuse.None or Misuse.LeftTouchedAfterFence or Misuse.LeftTouchedUnderWay)) return;
        var sums = new GroupAccumulator(k, 128);
        Variable<S32>[] left = k.Variables<S32>(4, 0);
        Packed[] operand = [.. left.Select(x => Packed.From(new(k, x.Register, 0)))];
        Pred never = k.Thread < 0;
        void Touch() => k.EmitTo(Forms.MovB32, left[2].Register, ((S32)1).Value);
        k.GroupFence();
        if (misuse == Misuse.LeftTouchedAfterFence) Touch();
        k.GroupMultiply(sums, operand, b.Descriptor(bufferB, 0), never, alongB: true);
        if (misuse == Misuse.LeftTouchedUnderWay) Touch();
        k.GroupCommit();
        k.GroupWait(0);
    }

    // Another copy into the same buffer.
    private static void Again(KernelBuilder k, Pred first, Mbarriers full, TensorMap map, S32 buffer) => k.If(first, () =>
    {
        full.ArriveExpecting(1, map.Box.Bytes);
        map.Copy(buffer, k.Integer(0), k.Integer(0), full.Address(1));
    });

    // Sets the first number of a tile to 3.
    private static void Poke(KernelBuilder k, S32 address) =>
        k.StoreTo<S32>(Forms.StoreShared, address.Value, 0, 2, [k.Variable<S32>(((BFloat16)3f).Bits).Value]);
}
