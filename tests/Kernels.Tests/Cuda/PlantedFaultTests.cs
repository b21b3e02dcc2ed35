using System.Runtime.CompilerServices;
using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Kernels.Cuda.Staging;
using Xunit;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>
/// Kernels with one fault each: the simulator must name its kind, the kernel, the line marked as the culprit, block and
/// thread. Each has a twin without the fault, which must run clean: a simulator that always complains catches nothing.
/// </summary>
public sealed class PlantedFaultTests
{
    private readonly SimulatorDevice _device = new() { InstructionLimit = 100_000 };
    private int _line;

    /// <summary>Marks the line on which the fault is staged.</summary>
    private void Here([CallerLineNumber] int line = 0) => _line = line + 1;

    private SimulatorFault Run(Action<KernelBuilder, Floats> stage, int threads = 64, int elements = 64, int blocks = 1, bool faulty = true, Tensor data = default)
    {
        var k = new KernelBuilder("planted", threads);
        stage(k, k.ArgumentFloats("x", DType.F32));
        Kernel kernel = k.Build();
        if (data.IsEmpty) data = _device.Create(DType.F32, 1, elements);
        if (!faulty)
        {
            _device.Launch(kernel, new(blocks), [data]);
            return null!;
        }
        return Assert.Throws<SimulatorFault>(() => _device.Launch(kernel, new(blocks), [data]));
    }

    // Of two threads that race, the one that comes second is blamed, and the order of warps is shuffled: either line is right.
    private void IsRace(SimulatorFault fault, FaultKind kind)
    {
        Assert.Equal(kind, fault.Kind);
        Assert.InRange(fault.Line.Line, _line - 3, _line);
        Assert.Contains("with no barrier in between", fault.Message);
    }

    private void Is(SimulatorFault fault, FaultKind kind, int block, int? thread)
    {
        Assert.Equal(kind, fault.Kind);
        Assert.Equal("planted", fault.KernelName);
        Assert.Equal(("PlantedFaultTests.cs", _line), (Path.GetFileName(fault.Line.File), fault.Line.Line));
        Assert.Equal(block, fault.Block);
        if (thread is not null) Assert.Equal(thread, fault.Warp * 32 + fault.Lane);
        Assert.Contains($"PlantedFaultTests.cs:{_line}", fault.Message);
        Assert.DoesNotContain('\n', fault.Message);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Read_past_the_end(bool faulty)
    {
        // Thread 63 of block 0 is the one that steps beyond a tensor of 64 when everyone reads its neighbour.
        SimulatorFault fault = Run((k, x) =>
        {
            Here();
            F32 next = x[k.Thread + (faulty ? 1 : 0)];
            k.Barrier();
            x[k.Thread] = next;
        }, faulty: faulty);
        if (faulty) Is(fault, FaultKind.OutOfBounds, 0, 63);
    }

    [Fact]
    public void Read_before_the_beginning()
    {
        SimulatorFault fault = Run((k, x) =>
        {
            Here();
            _ = x[k.Thread - 1];
        }, threads: 32);
        Is(fault, FaultKind.OutOfBounds, 0, 0);
        Assert.Contains("4 bytes before", fault.Message);
    }

    [Fact]
    public void A_slice_ends_where_it_ends_though_its_storage_goes_on()
    {
        Tensor whole = _device.Create(DType.F32, 4, 32);
        SimulatorFault fault = Run((k, x) =>
        {
            Here();
            x[k.Thread] = 1f;
        }, data: whole.Slice(1, 1));
        Is(fault, FaultKind.OutOfBounds, 0, 32);
    }

    [Fact]
    public void Shared_memory_past_the_end()
    {
        SimulatorFault fault = Run((k, x) =>
        {
            Shared<F32> s = k.Shared<F32>(32);
            Here();
            s[k.Thread] = 1f;
        });
        Is(fault, FaultKind.OutOfBounds, 0, 32);
    }

    [Fact]
    public void Wide_access_to_a_crooked_address()
    {
        SimulatorFault fault = Run((k, x) =>
        {
            Here();
            _ = x.Load(k.Thread + 1, 2);
        }, threads: 32);
        Is(fault, FaultKind.Misaligned, 0, 0);
    }

    [Fact]
    public void An_address_from_nowhere()
    {
        SimulatorFault fault = Run((k, x) =>
        {
            var wild = new Pointer<F32>(x.Address + (1L << 60));
            Here();
            _ = wild[k.Thread];
        }, threads: 32);
        Is(fault, FaultKind.WildAddress, 0, 0);
    }

    [Fact]
    public void A_tensor_that_was_freed()
    {
        Tensor data = _device.Create(DType.F32, 1, 64);
        var k = new KernelBuilder("planted", 32);
        Pointer<S64> table = k.ArgumentTable<S64>("table");
        var stored = new Pointer<F32>(table[0]);
        Here();
        stored[k.Thread] = 1f;
        Kernel kernel = k.Build();
        long address = data.Address;
        Tensor addresses = _device.Create<int>([(int)address, (int)(address >> 32)], 1, 2);
        _device.Launch(kernel, new(1), [addresses]);
        Assert.Equal(1f, data.ToArray<float>()[31]);
        data.Free();
        Is(Assert.Throws<SimulatorFault>(() => _device.Launch(kernel, new(1), [addresses])), FaultKind.WildAddress, 0, 0);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_register_set_in_some_lanes_only(bool faulty)
    {
        SimulatorFault fault = Run((k, x) =>
        {
            F32 late = 0f;
            k.If(k.Lane < (faulty ? 7 : 32), () => late = k.Lane.ToF32());
            Here();
            x[k.Thread] = late;
        }, faulty: faulty);
        if (faulty) Assert.Equal(7, fault.Lane);
        if (faulty) Is(fault, FaultKind.UnsetRegister, 0, null);
    }

    [Fact]
    public void Shared_memory_that_nothing_wrote()
    {
        SimulatorFault fault = Run((k, x) =>
        {
            Shared<F32> s = k.Shared<F32>(64);
            k.If(k.Thread.IsNot(5), () => s[k.Thread] = 1f);
            Here();
            _ = s[k.Thread];
        });
        Is(fault, FaultKind.UninitialisedMemory, 0, 5);
    }

    [Fact]
    public void Device_memory_that_nothing_wrote()
    {
        Tensor data = _device.Create(DType.F32, 1, 64);
        _device.Poison(data);
        _device.Upload<float>(new float[10], data.Reshape(64, 1).Slice(0, 10).Reshape(1, 10));
        SimulatorFault fault = Run((k, x) =>
        {
            Here();
            _ = x[k.Thread];
        }, threads: 32, data: data);
        Is(fault, FaultKind.UninitialisedMemory, 0, 10);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_missing_barrier_between_warps(bool faulty)
    {
        SimulatorFault fault = Run((k, x) =>
        {
            Shared<F32> s = k.Shared<F32>(64);
            s[k.Thread] = 1f;
            if (!faulty) k.Barrier();
            Here();
            x[k.Thread] = s[k.Thread ^ 32];
        }, faulty: faulty);
        // The warp that runs first finds nothing written, were it not for the race: either name is right, so both warps write first here.
        if (faulty) Assert.Contains(fault.Kind, (FaultKind[])[FaultKind.SharedRace, FaultKind.UninitialisedMemory]);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_race_of_write_and_read_between_warps(bool faulty)
    {
        SimulatorFault fault = Run((k, x) =>
        {
            Shared<F32> s = k.Shared<F32>(64);
            s[k.Thread] = 1f;
            k.Barrier();
            F32 other = s[k.Thread ^ 32];
            if (!faulty) k.Barrier();
            Here();
            s[k.Thread] = other + 1f;
        }, faulty: faulty);
        if (faulty) IsRace(fault, FaultKind.SharedRace);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_race_of_lanes_of_one_warp(bool faulty)
    {
        SimulatorFault fault = Run((k, x) =>
        {
            Shared<F32> s = k.Shared<F32>(32);
            s[k.Lane] = k.Lane.ToF32();
            if (!faulty) k.WarpBarrier();
            Here();
            x[k.Lane] = s[k.Lane ^ 1];
        }, threads: 32, faulty: faulty);
        if (faulty) Is(fault, FaultKind.SharedRace, 0, 0);
    }

    [Fact]
    public void Two_lanes_write_one_place()
    {
        SimulatorFault fault = Run((k, x) =>
        {
            Shared<F32> s = k.Shared<F32>(32);
            Here();
            s[k.Lane >>> 1] = 1f;
        });
        Is(fault, FaultKind.SharedRace, 0, null);
        Assert.Equal(1, fault.Lane);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_race_in_device_memory_within_a_block(bool faulty)
    {
        SimulatorFault fault = Run((k, x) =>
        {
            x[k.Thread] = 1f;
            if (!faulty) k.Barrier();
            Here();
            F32 other = x[k.Thread ^ 32];
            k.Barrier();
            x[k.Thread] = other;
        }, faulty: faulty);
        if (faulty) IsRace(fault, FaultKind.GlobalRace);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_race_between_blocks(bool faulty)
    {
        SimulatorFault fault = Run((k, x) =>
        {
            S32 place = faulty ? k.Thread : k.BlockX.MultiplyAdd(32, k.Thread);
            Here();
            x[place] = 1f;
        }, threads: 32, blocks: 2, faulty: faulty);
        if (faulty) Assert.Equal(FaultKind.GlobalRace, fault.Kind);
        if (faulty) Assert.Contains("block", fault.Message);
    }

    [Fact]
    public void Blocks_may_meet_in_atomics_but_not_beside_them()
    {
        void Stage(KernelBuilder k, Floats x, bool faulty)
        {
            var sum = new Pointer<F32>(x.Address);
            sum.AtomicAdd(0, 1f);
            if (faulty) k.If(k.Thread.Is(0), () => { Here(); _ = sum[0]; });
        }
        Tensor data = _device.Create(DType.F32, 1, 1);
        Run((k, x) => Stage(k, x, faulty: false), blocks: 3, faulty: false, data: data);
        Assert.Equal(192f, data.ToArray<float>()[0]);
        Assert.Equal(FaultKind.GlobalRace, Run((k, x) => Stage(k, x, faulty: true), blocks: 3, data: data).Kind);
    }

    [Fact]
    public void A_barrier_inside_a_branch()
    {
        SimulatorFault fault = Run((k, x) => k.If(k.Lane < 16, () =>
        {
            Here();
            k.Barrier();
        }));
        Is(fault, FaultKind.DivergentBarrier, 0, null);
        Assert.Equal(16, fault.Lane);
    }

    [Fact]
    public void A_warp_barrier_inside_a_branch()
    {
        SimulatorFault fault = Run((k, x) => k.If(k.Lane < 16, () =>
        {
            Here();
            k.WarpBarrier();
        }));
        Is(fault, FaultKind.DivergentBarrier, 0, null);
    }

    [Fact]
    public void A_barrier_that_a_warp_never_reaches()
    {
        SimulatorFault fault = Run((k, x) => k.If(k.Warp.Is(0), () =>
        {
            Here();
            k.Barrier();
        }));
        Is(fault, FaultKind.MissedBarrier, 0, null);
        Assert.Equal(0, fault.Warp);
    }

    [Fact]
    public void Warps_at_different_barriers()
    {
        SimulatorFault fault = Run((k, x) => k.If(k.Warp.Is(0), () => k.Barrier(), () => k.Barrier()));
        Assert.Equal(FaultKind.MissedBarrier, fault.Kind);
    }

    [Fact]
    public void A_shuffle_inside_a_branch()
    {
        SimulatorFault fault = Run((k, x) => k.If(k.Lane < 31, () =>
        {
            F32 one = k.Number(1);
            Here();
            _ = k.ShuffleXor(one, 1);
        }));
        Is(fault, FaultKind.DivergentWarp, 0, null);
        Assert.Equal(31, fault.Lane);
    }

    [Fact]
    public void A_vote_inside_a_branch()
    {
        SimulatorFault fault = Run((k, x) => k.If(k.Lane.IsNot(3), () =>
        {
            Here();
            _ = k.Any(k.Lane < 5);
        }));
        Is(fault, FaultKind.DivergentWarp, 0, null);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Asynchronous_data_read_before_the_wait(bool faulty)
    {
        SimulatorFault fault = Run((k, x) =>
        {
            Shared<F32> s = k.Shared<F32>(128);
            k.CopyAsync(k.SharedAddress(0) + (k.Lane << 4), x.Offset(k.Lane << 2).Address, 16);
            k.CopyCommit();
            if (!faulty) k.CopyWait(0);
            k.Barrier();
            Here();
            F32 first = s[k.Lane];
            k.CopyWait(0);
            x[k.Lane] = first;
        }, threads: 32, elements: 128, faulty: faulty);
        if (faulty) Is(fault, FaultKind.PendingCopy, 0, 0);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Asynchronous_data_of_another_thread_without_a_barrier(bool faulty)
    {
        SimulatorFault fault = Run((k, x) =>
        {
            Shared<F32> s = k.Shared<F32>(128);
            k.CopyAsync(k.SharedAddress(0) + (k.Lane << 4), x.Offset(k.Lane << 2).Address, 16);
            k.CopyCommit();
            k.CopyWait(0);
            if (!faulty) k.WarpBarrier();
            Here();
            x[k.Lane] = s[k.Lane];
        }, threads: 32, elements: 128, faulty: faulty);
        if (faulty) Is(fault, FaultKind.SharedRace, 0, 1);
    }

    [Fact]
    public void A_wait_that_leaves_one_group_too_many()
    {
        SimulatorFault fault = Run((k, x) =>
        {
            Shared<F32> s = k.Shared<F32>(256);
            for (int group = 0; group < 2; group++)
            {
                k.CopyAsync(k.SharedAddress(512 * group) + (k.Lane << 4), x.Offset(k.Lane << 2).Address, 16);
                k.CopyCommit();
            }
            k.CopyWait(1);
            k.Barrier();
            _ = s[k.Lane];
            Here();
            _ = s[k.Lane + 128];
        }, threads: 32, elements: 128);
        Is(fault, FaultKind.PendingCopy, 0, 0);
    }

    [Fact]
    public void A_copy_into_memory_that_others_still_read()
    {
        SimulatorFault fault = Run((k, x) =>
        {
            Shared<F32> s = k.Shared<F32>(256);
            s[k.Thread] = 0f;
            k.Barrier();
            _ = s[k.Thread ^ 32];
            Here();
            k.CopyAsync(k.SharedAddress(0) + (k.Thread << 4), x.Offset(k.Thread << 2).Address, 16);
            k.CopyCommit();
            k.CopyWait(0);
        }, elements: 256);
        IsRace(fault, FaultKind.SharedRace);
    }

    [Fact]
    public void Copies_that_are_never_waited_for()
    {
        SimulatorFault fault = Run((k, x) => k.CopyAsync(k.SharedAddress(k.TakeShared(512)) + (k.Lane << 4), x.Offset(k.Lane << 2).Address, 16), threads: 32, elements: 128);
        Assert.Equal(FaultKind.ForgottenCopy, fault.Kind);
    }

    [Fact]
    public void A_copy_to_a_crooked_address()
    {
        SimulatorFault fault = Run((k, x) =>
        {
            S32 target = k.SharedAddress(k.TakeShared(600)) + (k.Lane << 4) + 4;
            Here();
            k.CopyAsync(target, x.Offset(k.Lane << 2).Address, 16);
        }, threads: 32, elements: 128);
        Is(fault, FaultKind.Misaligned, 0, 0);
    }

    [Fact]
    public void A_copy_of_a_negative_length()
    {
        SimulatorFault fault = Run((k, x) =>
        {
            S32 target = k.SharedAddress(k.TakeShared(512)) + (k.Lane << 4), length = 16 - (k.Lane << 2);
            Here();
            k.CopyAsync(target, x.Offset(k.Lane << 2).Address, length);
        }, threads: 32, elements: 128);
        Is(fault, FaultKind.BadCopySize, 0, 5);
    }

    [Fact]
    public void A_loop_without_end()
    {
        SimulatorFault fault = Run((k, x) => k.While(() => k.Thread >= 0, () => x[k.Thread] = 1f));
        Assert.Equal(FaultKind.Endless, fault.Kind);
    }

    [Fact]
    public void A_launch_that_does_not_fit()
    {
        var k = new KernelBuilder("planted", 32);
        k.ArgumentFloats("x", DType.BF16)[k.Thread] = 1f;
        k.ArgumentF32("factor");
        Kernel kernel = k.Build();
        Tensor single = _device.Create(DType.F32, 1, 32), half = _device.Create(DType.BF16, 1, 32);
        Assert.Equal("BadLaunch in kernel planted: it takes 2 arguments, received 1", Assert.Throws<SimulatorFault>(() => _device.Launch(kernel, new(1), [half])).Message);
        Assert.Equal(
            "BadLaunch in kernel planted: argument x is F32, the kernel was staged for BF16",
            Assert.Throws<SimulatorFault>(() => _device.Launch(kernel, new(1), [single, 1f])).Message);
        Assert.Equal(
            "BadLaunch in kernel planted: argument factor is B32, the kernel declares F32", Assert.Throws<SimulatorFault>(() => _device.Launch(kernel, new(1), [half, 1])).Message);
    }

    [Fact]
    public void The_message_says_it_all_in_one_line()
    {
        SimulatorFault fault = Run((k, x) =>
        {
            Here();
            x[k.BlockX.MultiplyAdd(32, k.Thread)] = 1f;
        }, threads: 32, elements: 60, blocks: 2);
        Assert.Equal(
            $"OutOfBounds in kernel planted at PlantedFaultTests.cs:{_line} (st.global.f32), block 1, warp 0, lane 28 (thread 28): bytes 240 to 243 of 'x', which has 240",
            fault.Message);
    }
}
