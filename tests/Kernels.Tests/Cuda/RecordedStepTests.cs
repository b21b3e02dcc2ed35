using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Driver;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Kernels.Ops.AdamW;
using Bellman.Kernels.Ops.Embedding;
using Bellman.Kernels.Ops.GradientNorm;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Kernels.Ops.Residual;
using Bellman.Kernels.Ops.Preference;
using Bellman.Kernels.Ops.RmsNorm;
using Bellman.Kernels.Ops.Sample;
using Bellman.Kernels.Ops.SoftBellman;
using Xunit;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>Steps that are recorded once and run again: what they may do, what becomes of them, and that they compute the same.</summary>
public sealed class RecordedStepTests
{
    private static Tensor Ones(Device device, int rows, int columns) => device.Create<float>([.. Enumerable.Repeat(1f, rows * columns)], rows, columns);

    [Fact]
    public void A_step_is_called_twice_and_then_runs_without_being_called()
    {
        foreach (Device device in (Device[])[Device.Cpu, new SimulatorDevice { Activations = DType.F32 }])
        {
            Tensor x = Ones(device, 1, 4), y = Ones(device, 1, 4);
            using var steps = new StepRecorder<int>(device);
            int called = 0;
            for (int i = 0; i < 5; i++)
                steps.Run(7, () =>
                {
                    called++;
                    Residual.Add(x, y, 1);
                    y.Clear();
                });
            Assert.Equal([2f, 2f, 2f, 2f], x.ToArray<float>());
            Assert.Equal(device == Device.Cpu ? 5 : 2, called);
            // What it reads may be uploaded anew.
            device.Upload<float>([1, 2, 3, 4], y);
            steps.Run(7, () => Assert.Same(Device.Cpu, device));
            if (device != Device.Cpu) Assert.Equal([3f, 4f, 5f, 6f], x.ToArray<float>());
        }
    }

    [Fact]
    public void Each_shape_is_a_step_of_its_own_and_old_ones_are_forgotten()
    {
        var device = new SimulatorDevice { Activations = DType.F32 };
        Tensor x = Ones(device, 4, 1), y = Ones(device, 4, 1);
        using var steps = new StepRecorder<int>(device);
        for (int round = 0; round < 3; round++)
            for (int rows = 1; rows <= 4; rows++) steps.Run(rows, () => Residual.Add(x.Slice(0, rows), y.Slice(0, rows), 1));
        Assert.Equal([13f, 10f, 7f, 4f], x.ToArray<float>());
        int called = 0;
        for (int shape = 0; shape < 200; shape++) steps.Run(shape, () => called++);
        Assert.InRange(called, 196, 200);
    }

    [Fact]
    public void A_step_whose_memory_was_freed_is_recorded_anew()
    {
        var device = new SimulatorDevice { Activations = DType.F32 };
        Tensor x = Ones(device, 1, 4), y = Ones(device, 1, 4);
        using var steps = new StepRecorder<int>(device);
        int called = 0;
        void Run() => steps.Run(0, () =>
        {
            called++;
            Residual.Add(x, y, 1);
        });
        for (int i = 0; i < 3; i++) Run();
        y.Free();
        y = Ones(device, 1, 4);
        for (int i = 0; i < 3; i++) Run();
        Assert.Equal((4, 7f), (called, x.ToArray<float>()[0]));
    }

    public static TheoryData<string, string> Faults => new()
    {
        { "wait", "waited for F32 1×4" }, { "allocate", "allocated 16 bytes" }, { "copy", "copied host memory to F32 1×4" }, { "nest", "is recording a step already" },
        { "read a result", "waited for F64 1×5" },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public void What_would_happen_only_once_is_refused(string fault, string message)
    {
        foreach (KernelDevice device in (KernelDevice[])[new SimulatorDevice(), new CudaDevice(new FakeCudaDriver(), 0)])
        {
            Tensor x = device.Create(DType.F32, 1, 4), result = device.Create(DType.F64, 1, 5);
            using var steps = new StepRecorder<int>(device);
            void Step()
            {
                if (fault == "wait") x.ToArray<float>();
                else if (fault == "allocate") device.Create(DType.F32, 1, 4).Free();
                else if (fault == "copy") device.Upload<float>([1, 2, 3, 4], x);
                else if (fault == "nest") device.Record(() => { }).Dispose();
                else PairLossResult.Read(result);
            }
            if (fault != "nest") steps.Run(0, Step);
            else steps.Run(0, () => { });
            DeviceException error = Assert.Throws<DeviceException>(() => steps.Run(0, Step));
            Assert.Contains(message, error.Message);
            Assert.DoesNotContain('\n', error.Message);
            // The device goes on.
            x.ToArray<float>();
            if (fault != "nest") steps.Run(0, Step);
        }
    }

    [Fact]
    public void On_a_card_a_step_is_a_graph_and_memory_freed_meanwhile_is_given_back_after_it()
    {
        var driver = new FakeCudaDriver();
        var device = new CudaDevice(driver, 0);
        Tensor x = device.Create(DType.BF16, 1, 8), dead = device.Create(DType.BF16, 1, 8);
        int held = driver.Held;
        using (var steps = new StepRecorder<int>(device))
        {
            steps.Run(0, () => Residual.Add(x, x, 1));
            steps.Run(0, () =>
            {
                Residual.Add(x, x, 1);
                dead.Free();
                Assert.Equal(held, driver.Held);
            });
            steps.Run(0, () => Assert.Fail("called again"));
            Assert.Equal((held - 1, 1, 2), (driver.Held, driver.Captures, driver.GraphLaunches));
        }
        x.Free();
    }

    /// <summary>A model of one layer in training: recorded, it must leave the bits that it leaves when every update is called.</summary>
    [Fact]
    public void A_recorded_training_step_computes_what_a_called_one_does()
    {
        Assert.Equal(Train(recorded: false), Train(recorded: true));
    }

    private static double[] Train(bool recorded)
    {
        const int T = 6, C = 8, V = 16, Updates = 4;
        var device = new SimulatorDevice();
        Tensor Half(int seed, int rows, int columns) => device.Create<BFloat16>(Array.ConvertAll(OpTest.Normal(seed, rows * columns, 0.3), x => (BFloat16)x), rows, columns);
        Tensor Zero(int rows, int columns) => device.Create(DType.F32, rows, columns);
        Tensor embedding = Half(1, V, C), head = Half(2, V, C), ones = Ones(device, 1, C);
        Tensor norm = device.Create<BFloat16>([.. Enumerable.Repeat((BFloat16)1f, C)], 1, C), hidden = Half(3, T, C), x = Half(4, T, C), dNormed = Half(5, T, C), dx = Half(6, T, C);
        Tensor master = device.Create<float>(Array.ConvertAll(head.ToArray<BFloat16>(), v => (float)v), V, C), gradient = Zero(V, C);
        Tensor ids = device.Create(DType.I32, T, 1), targets = device.Create(DType.I32, T, 1), rstd = Zero(T, 1), starts = device.Create<int>([0, T], 2, 1), mask = Ones(device, T, 1);
        Tensor zeros = Zero(T, 1), reward = Ones(device, 1, 1), dLogProbs = Zero(T, 1), result = device.Create(DType.F64, 1, SoftBellmanResult.Numbers), size = device.Create(DType.F64, 1, 1);
        Tensor numbers = device.Create(DType.F64, 1, AdamWSettings.Numbers);
        var output = new LmHeadOutput(Zero(T, 1), Zero(T, 1), default, default, default, default);
        using var weight = new PackedWeight(head);
        using var trained = new AdamWTensors([new(master, gradient, Zero(V, C), Zero(V, C), true, head)]);
        using var gradients = new GradientTensors([gradient]);
        using var steps = new StepRecorder<int>(device);
        var log = new List<double>();
        var values = new double[AdamWSettings.Numbers];
        for (int update = 0; update < Updates; update++)
        {
            // What changes from update to update is uploaded before the step, and its results are read after it.
            device.Upload<int>(OpTest.Integers(10 + update, T, V), ids);
            device.Upload<int>(OpTest.Integers(20 + update, T, V), targets);
            new AdamWSettings(1e-2 / (1 + update), 0.9, 0.95, 1e-8, 0.1, ClipNorm: 0.5).Write(update + 1, values);
            device.Upload<double>(values, numbers);
            void Step()
            {
                gradient.Clear();
                dx.Clear();
                Embedding.Forward(ids, embedding, 1, x);
                RmsNorm.Forward(x, norm, 1e-6f, hidden, rstd);
                LmHead.Forward(new LmHeadInput(hidden, weight, 1), default, KlDirection.None, targets, output, null!);
                var batch = new SoftBellmanBatch(output.LogProb, zeros, zeros, mask, mask, reward, starts);
                SoftBellman.PolicyLoss(batch, new() { Beta = 0.1 }, result, dLogProbs);
                LmHead.Backward(new LmHeadInput(hidden, weight, 1), default, KlDirection.None, targets, output, dLogProbs, default, dNormed, gradient, null!);
                RmsNorm.Backward(dNormed, x, norm, rstd, dx, default);
                GradientNorm.Norm(gradients, size);
                AdamW.Step(trained, numbers, size);
            }
            if (recorded) steps.Run(T, Step);
            else Step();
            log.Add(SoftBellmanResult.Read(result).Loss);
            log.Add(size.ToArray<double>()[0]);
        }
        log.AddRange(master.ToArray<float>().Select(v => (double)v));
        return [.. log];
    }

    /// <summary>Tokens drawn one after another, each read by the next step's embedding where it was left.</summary>
    [Fact]
    public void A_recorded_decoding_step_feeds_itself()
    {
        Assert.Equal(Decode(recorded: false), Decode(recorded: true));
    }

    private static int[] Decode(bool recorded)
    {
        const int Rows = 3, C = 8, V = 16, Tokens = 6;
        var device = new SimulatorDevice();
        Tensor Half(int seed, int rows, int columns) => device.Create<BFloat16>(Array.ConvertAll(OpTest.Normal(seed, rows * columns), x => (BFloat16)x), rows, columns);
        Tensor embedding = Half(1, V, C), x = Half(3, Rows, C), logits = device.Create(DType.F32, Rows, V), ids = device.Create<int>([1, 2, 3], Rows, 1), logProbs = device.Create(DType.F32, Rows, 1);
        Tensor settings = device.Create(DType.I32, Rows, SampleRow.Words);
        using var weight = new PackedWeight(Half(2, V, C));
        using var steps = new StepRecorder<int>(device);
        var drawn = new List<int>();
        var words = new int[Rows * SampleRow.Words];
        for (uint token = 0; token < Tokens; token++)
        {
            for (int i = 0; i < Rows; i++) new SampleRow(1, i, 1, 5, (ulong)i, token).Write(i, words.AsSpan(i * SampleRow.Words, SampleRow.Words));
            device.Upload<int>(words, settings);
            void Step()
            {
                Embedding.Forward(ids, embedding, 1, x);
                LmHead.Logits(new LmHeadInput(x, weight, 1), logits);
                Sample.Next(logits, settings, ids, logProbs);
            }
            if (recorded) steps.Run(Rows, Step);
            else Step();
            drawn.AddRange(ids.ToArray<int>());
        }
        return [.. drawn];
    }
}
