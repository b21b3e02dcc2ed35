using Bellman.Kernels;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Runtime.Models;
using Bellman.Runtime.Modules;
using Bellman.Runtime.Tests.Models;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Devices;

/// <summary>
/// The golden checkpoints through the CUDA kernels, in the simulator: with float32 weights as close as the CPU comes, with bfloat16
/// ones, as on a card, within what that type holds.
/// </summary>
[Trait("Category", "Golden")]
public sealed class DeviceModelGoldenTests
{
    public static TheoryData<string> Models => ModelGoldenTests.Folders("full/labels");

    [Theory]
    [MemberData(nameof(Models))]
    public void Float32_is_as_close_as_the_cpu(string folder) =>
        Compare(folder, DType.F32, (golden, actual, what) => TensorComparer.Close(golden, actual, 5e-5, 0, what), (golden, actual, what) => TensorComparer.CloseToScale(golden, actual, 1e-4, what));

    [Theory]
    [MemberData(nameof(Models))]
    public void Bfloat16_is_within_its_rounding(string folder) =>
        Compare(folder, DType.BF16, (golden, actual, what) => IsNear(golden, actual, 0.02, what), (golden, actual, what) => IsNear(golden, actual, 0.06, what));

    private static void Compare(string folder, DType type, Action<float[], float[], string> forward, Action<float[], float[], string> backward)
    {
        SafetensorsFixture golden = ModelGoldenTests.Open(folder);
        var device = new SimulatorDevice { Activations = type, KeepsReports = false };
        using LanguageModel model = LanguageModel.Load(folder, device, trainable: true);
        int[] ids = golden.Ints("full/input_ids"), labels = golden.Ints("full/labels");
        int[] rows = [.. Enumerable.Range(0, ids.Length - 1).Where(t => labels[t + 1] >= 0)];
        using var run = new ForwardBackward(model, ids, 0, ids.Length);
        forward(golden.Floats("full/logits"), run.Logits(), "logits");
        run.LogProbs(rows, [.. rows.Select(t => labels[t + 1])], [.. rows.Select(_ => -1f / rows.Length)]);
        foreach (Parameter parameter in model.Parameters.Items)
            foreach (ParameterPart part in parameter.Parts) backward(golden.Floats($"full/grad/{part.Name}"), parameter.GradientOf(part).ToArray<float>(), part.Name);
    }

    /// <summary>
    /// The norm of the difference against that of the golden numbers: single small ones lose all digits, their share is small.
    /// </summary>
    private static void IsNear(float[] golden, float[] actual, double share, string what)
    {
        double difference = 0, size = 0;
        for (int i = 0; i < golden.Length; i++)
        {
            difference += Math.Pow(golden[i] - (double)actual[i], 2);
            size += (double)golden[i] * golden[i];
        }
        // NaN is not below anything.
        Assert.True(Math.Sqrt(difference) <= share * Math.Sqrt(size) + 1e-6, $"{what}: the difference is {Math.Sqrt(difference / size):0.####} of the golden numbers, expected {share} at most");
    }
}
