using System.Text.Json;
using Bellman.Kernels.Ops.KlPenalty;
using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Golden;

/// <summary>
/// One pass of the authors' training loop, from logits and values to both objectives and their gradients: value loss first,
/// then policy loss with the same values, then the regulariser.
/// </summary>
[Trait("Category", "Golden")]
public sealed class OreoFitStepGoldenTests
{
    [Fact]
    public void All_cases()
    {
        var file = new SafetensorsFixture(TestData.Golden("oreo_fit_step.safetensors"));
        using JsonDocument index = JsonDocument.Parse(File.ReadAllText(TestData.Golden("oreo_fit_step.json")));
        int cases = 0;
        foreach (JsonElement record in index.RootElement.EnumerateArray())
        {
            Check(file, record);
            cases++;
        }
        Assert.True(cases > 0, "the index lists no case");
    }

    private static void Check(SafetensorsFixture file, JsonElement record)
    {
        string key = record.GetProperty("key").GetString()!;
        var batch = new GoldenBatch(file, record.GetProperty("batch").GetString()!);
        GoldenBatch.Packing packing = batch.Pack(cut: false);
        bool Flag(string name) => record.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.True;
        double Number(string name) => record.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : 0;
        void Same(string name, double actual)
        {
            if (record.TryGetProperty(name, out JsonElement value)) TensorComparer.Close(value.GetDouble(), actual, 1e-6, 2e-5, $"{key} {name}");
        }

        var options = new SoftBellmanOptions
        {
            Beta = Number("beta"),
            ClipLogRatio = Number("clip_log"),
            Importance = Flag("importance_sampling_2") ? ImportanceWeighting.PerState
                : Flag("importance_sampling") ? ImportanceWeighting.PerSequence : ImportanceWeighting.None,
            Form = Flag("traj_actor_loss") ? SoftBellmanForm.Response
                : Flag("single_step_actor_loss") ? Flag("step_level") ? SoftBellmanForm.SingleStepStep : SoftBellmanForm.SingleStepToken
                : Flag("step_level") ? SoftBellmanForm.Step : SoftBellmanForm.Token,
        };
        SoftBellmanBatch inputs = packing.Inputs(batch.LogProbs(batch.PolicyLogits), batch.LogProbs(batch.ReferenceLogits));
        Guarded dValues = new(packing.Tokens, 1), dLogProbs = new(packing.Tokens, 1), dKl = new(packing.Tokens, 1, new float[packing.Tokens]);

        SoftBellmanResult value = Results.ValueLoss(inputs, options, dValues.Tensor);
        Same("critic_objective_f64", value.Loss);
        Same("log_loss_f64", value.Loss);
        Same("log_min_value_f64", value.MinValue);
        Same("log_max_value_f64", value.MaxValue);
        Same("log_clip_ratio_f64", value.ClipRatio);
        TensorComparer.CloseToScale(file.Floats($"{key}/grad_values"), packing.Unpack(dValues.Tensor), 2e-5, $"{key} dValues", 1e-7);
        if (Flag("critic_only")) return;

        SoftBellmanResult policy = Results.PolicyLoss(inputs, options, dLogProbs.Tensor);
        Same("log_actor_loss_f64", policy.Loss);
        Same("log_vs0_min_f64", policy.MinFirstValue);
        Same("log_vs0_max_f64", policy.MaxFirstValue);

        double coefficient = record.TryGetProperty("init_log_kl_coeff", out JsonElement start) ? Math.Exp(start.GetDouble()) : Number("kl_reg");
        bool full = Flag("unbiased_kl"), forward = Flag("forward_kl");
        double estimate = Results.KlSampled(inputs.LogProbs, inputs.ReferenceLogProbs, packing.ActionMask, packing.Starts, 0, 0, default);
        Same("log_kl_estimate_f64", estimate);
        double kl = full
            ? Results.KlMean(packing.Take(Divergences(batch, forward)), packing.ActionMask, packing.Starts, coefficient, 0, dKl.Tensor)
            : Results.KlSampled(inputs.LogProbs, inputs.ReferenceLogProbs, packing.ActionMask, packing.Starts, coefficient, 0, dLogProbs.Tensor);
        Same("log_kl_reg_f64", kl);
        Same("actor_objective_f64", policy.Loss + coefficient * kl);

        float[] gradient = OreoLossGoldenTests.ToLogits(batch, packing.Unpack(dLogProbs.Tensor));
        if (full) AddDivergenceGradient(batch, forward, packing.Unpack(dKl.Tensor), gradient);
        TensorComparer.CloseToScale(file.Floats($"{key}/grad_policy_logits"), gradient, 2e-5, $"{key} dLogits", 1e-7);
        foreach (Guarded tensor in (Guarded[])[dValues, dLogProbs, dKl]) tensor.Verify(key);
    }

    /// <summary>KL(π ‖ π_ref), or KL(π_ref ‖ π), at every position.</summary>
    private static float[] Divergences(GoldenBatch batch, bool forward)
    {
        var result = new float[batch.Rows * (batch.Length - 1)];
        for (int b = 0; b < batch.Rows; b++)
            for (int t = 0; t < batch.Length - 1; t++)
            {
                double[] p = batch.LogSoftmax(batch.PolicyLogits, b, t), q = batch.LogSoftmax(batch.ReferenceLogits, b, t);
                result[b * (batch.Length - 1) + t] = (float)(forward ? Divergence(q, p) : Divergence(p, q));
            }
        return result;
    }

    private static double Divergence(double[] p, double[] q)
    {
        double sum = 0;
        for (int j = 0; j < p.Length; j++) sum += Math.Exp(p[j]) * (p[j] - q[j]);
        return sum;
    }

    private static void AddDivergenceGradient(GoldenBatch batch, bool forward, float[] dKl, float[] gradient)
    {
        for (int b = 0; b < batch.Rows; b++)
            for (int t = 0; t < batch.Length - 1; t++)
            {
                double[] p = batch.LogSoftmax(batch.PolicyLogits, b, t), q = batch.LogSoftmax(batch.ReferenceLogits, b, t);
                double kl = Divergence(p, q), weight = dKl[b * (batch.Length - 1) + t];
                for (int j = 0; j < batch.Vocabulary; j++)
                    gradient[(b * batch.Length + t) * batch.Vocabulary + j] +=
                        (float)(weight * (forward ? Math.Exp(p[j]) - Math.Exp(q[j]) : Math.Exp(p[j]) * (p[j] - q[j] - kl)));
            }
    }
}
