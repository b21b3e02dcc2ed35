using System.Text.Json;
using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Golden;

/// <summary>Every loss of the authors' program against <see cref="SoftBellman"/>, padded as there and packed as here.</summary>
[Trait("Category", "Golden")]
public sealed class OreoLossGoldenTests
{
    [Fact]
    public void All_cases()
    {
        var file = new SafetensorsFixture(TestData.Golden("oreo_losses.safetensors"));
        using JsonDocument index = JsonDocument.Parse(File.ReadAllText(TestData.Golden("oreo_losses.json")));
        int cases = 0;
        foreach (JsonElement record in index.RootElement.EnumerateArray())
        {
            string name = record.GetProperty("batch").GetString()!;
            var batch = new GoldenBatch(file, name);
            Check(file, record, batch, batch.Pack(cut: false), padded: true);
            // Cut off on the right, the value after the last token is 0 by definition; the official program reads one there.
            if (batch.EndsAreFlush || record.GetProperty("method").GetString() != "single_step")
                Check(file, record, batch, batch.Pack(cut: true), padded: false);
            cases++;
        }
        Assert.True(cases > 0, "the index lists no case");
    }

    private static void Check(SafetensorsFixture file, JsonElement record, GoldenBatch batch, GoldenBatch.Packing packing, bool padded)
    {
        string name = record.GetProperty("batch").GetString()!, key = record.GetProperty("key").GetString()!;
        string method = record.GetProperty("method").GetString()!, what = $"{key} ({method}, {(padded ? "padded" : "packed")})";
        bool byStep = Flag(record, "step_level");
        var options = new SoftBellmanOptions
        {
            Beta = record.GetProperty("beta").GetDouble(),
            ClipLogRatio = Number(record, "clip_log"),
            Hinge = Number(record, "hinge_coeff"),
            Importance = Flag(record, "importance_sampling_2") ? ImportanceWeighting.PerState
                : Flag(record, "importance_sampling") ? ImportanceWeighting.PerSequence : ImportanceWeighting.None,
            Form = method switch
            {
                "traj" => SoftBellmanForm.Response,
                "single_step" => byStep ? SoftBellmanForm.SingleStepStep : SoftBellmanForm.SingleStepToken,
                "dro" or "value" => byStep ? SoftBellmanForm.Step : SoftBellmanForm.Token,
                _ => throw new NotSupportedException($"{what}: method"),
            },
        };
        float[] logProbs = file.Floats($"{name}/logps");
        SoftBellmanBatch inputs = packing.Inputs(logProbs, file.Floats($"{name}/ref_logps"));
        Guarded dLogProbs = new(packing.Tokens, 1), dValues = new(packing.Tokens, 1);
        SoftBellmanResult result = method == "value"
            ? Results.ValueLoss(inputs, options, dValues.Tensor, dLogProbs.Tensor)
            : Results.PolicyLoss(inputs, options, dLogProbs.Tensor, dValues.Tensor);

        TensorComparer.Close(record.GetProperty("loss_f64").GetDouble(), result.Loss, 1e-6, 2e-5, $"{what} loss");
        float[] gradLogProbs = packing.Unpack(dLogProbs.Tensor);
        TensorComparer.CloseToScale(file.Floats($"{key}/grad_logps"), gradLogProbs, 2e-5, $"{what} dLogProbs", 1e-7);
        TensorComparer.CloseToScale(file.Floats($"{key}/grad_values"), packing.Unpack(dValues.Tensor), 2e-5, $"{what} dValues", 1e-7);
        dLogProbs.Verify(what);
        dValues.Verify(what);
        if (padded && record.TryGetProperty("clip_ratio", out JsonElement ratio))
            TensorComparer.Close(ratio[0].GetDouble(), result.ClipRatio, 1e-6, 0, $"{what} clip ratio");
        if (record.TryGetProperty("vs0", out JsonElement first))
        {
            double[] values = [.. first.EnumerateArray().Select(x => x.GetDouble())];
            TensorComparer.Close(values.Min(), result.MinFirstValue, 1e-6, 0, $"{what} smallest first value");
            TensorComparer.Close(values.Max(), result.MaxFirstValue, 1e-6, 0, $"{what} largest first value");
        }
        if (file.Has($"{key}/grad_policy_logits"))
            TensorComparer.CloseToScale(file.Floats($"{key}/grad_policy_logits"), ToLogits(batch, gradLogProbs), 2e-5, $"{what} dLogits", 1e-7);
    }

    /// <summary>d logits = d log-prob · (one-hot − softmax).</summary>
    internal static float[] ToLogits(GoldenBatch batch, float[] gradLogProbs)
    {
        var gradient = new float[batch.Rows * batch.Length * batch.Vocabulary];
        for (int b = 0; b < batch.Rows; b++)
            for (int t = 0; t < batch.Length - 1; t++)
            {
                double[] p = batch.LogSoftmax(batch.PolicyLogits, b, t);
                float g = gradLogProbs[b * (batch.Length - 1) + t];
                for (int j = 0; j < batch.Vocabulary; j++)
                    gradient[(b * batch.Length + t) * batch.Vocabulary + j] =
                        (float)(g * ((j == batch.Ids[b * batch.Length + t + 1] ? 1 : 0) - Math.Exp(p[j])));
            }
        return gradient;
    }

    private static bool Flag(JsonElement record, string name) => record.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.True;

    private static double Number(JsonElement record, string name) =>
        record.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : 0;
}
