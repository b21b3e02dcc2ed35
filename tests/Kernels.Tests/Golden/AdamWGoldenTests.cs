using System.Text.Json;
using Bellman.Kernels.Ops.AdamW;
using Bellman.Kernels.Ops.GradientNorm;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Golden;

/// <summary>Steps of torch's AdamW with clipping by global norm. The learning rates come from the file.</summary>
[Trait("Category", "Golden")]
public sealed class AdamWGoldenTests
{
    [Fact]
    public void All_cases() => OpTest.AtEveryWidth(() =>
    {
        var file = new SafetensorsFixture(TestData.Golden("optim.safetensors"));
        using JsonDocument index = JsonDocument.Parse(File.ReadAllText(TestData.Golden("optim.json")));
        int cases = 0;
        foreach (JsonElement record in index.RootElement.EnumerateArray())
        {
            if (record.GetProperty("kind").GetString() != "adamw") continue;
            Check(file, record);
            cases++;
        }
        Assert.True(cases > 0, "the index lists no case");
    });

    private static void Check(SafetensorsFixture file, JsonElement record)
    {
        string key = record.GetProperty("key").GetString()!;
        string[] noDecay = [.. record.GetProperty("no_decay").EnumerateArray().Select(x => x.GetString()!)];
        string[] names = [.. file.Names.Where(x => x.StartsWith($"{key}/init/", StringComparison.Ordinal)).Select(x => x[(x.LastIndexOf('/') + 1)..])];
        var state = new AdamWTensor[names.Length];
        for (int i = 0; i < names.Length; i++)
        {
            float[] start = file.Floats($"{key}/init/{names[i]}");
            state[i] = new(
                OpTest.Tensor(start), OpTest.Tensor(new float[start.Length]), OpTest.Tensor(new float[start.Length]),
                OpTest.Tensor(new float[start.Length]), !noDecay.Contains(names[i]));
        }
        int step = 0;
        foreach (JsonElement entry in record.GetProperty("steps").EnumerateArray())
        {
            for (int i = 0; i < names.Length; i++) file.Floats($"{key}/step{step}/grad/{names[i]}").CopyTo(state[i].Gradient.AsSpan<float>());
            double norm = Results.Norm([.. state.Select(x => x.Gradient)]);
            TensorComparer.Close(entry.GetProperty("grad_norm_before_clip").GetDouble(), norm, 0, 1e-6, $"{key} step {step} norm");
            JsonElement maximum = record.GetProperty("max_norm"), betas = record.GetProperty("betas");
            var settings = new AdamWSettings(
                entry.GetProperty("lr").GetDouble(), betas[0].GetDouble(), betas[1].GetDouble(), record.GetProperty("eps").GetDouble(),
                record.GetProperty("weight_decay").GetDouble());
            settings = settings with { ClipNorm = maximum.ValueKind == JsonValueKind.Null ? 0 : maximum.GetDouble() };
            using var list = new AdamWTensors(state);
            AdamW.Step(list, Results.Numbers(Device.Cpu, settings, step + 1), Device.Cpu.Create<double>([norm], 1, 1));
            for (int i = 0; i < names.Length; i++)
            {
                string what = $"{key}/step{step}";
                TensorComparer.Close(file.Floats($"{what}/param/{names[i]}"), state[i].Parameter.ToArray<float>(), 1e-8, 1e-6, $"{what} param {names[i]}");
                TensorComparer.CloseToScale(file.Floats($"{what}/exp_avg/{names[i]}"), state[i].FirstMoment.ToArray<float>(), 1e-6, $"{what} m {names[i]}");
                TensorComparer.CloseToScale(file.Floats($"{what}/exp_avg_sq/{names[i]}"), state[i].SecondMoment.ToArray<float>(), 1e-6, $"{what} v {names[i]}");
            }
            step++;
        }
    }
}
