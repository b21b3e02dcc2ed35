using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Kernels.Random;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

/// <summary>
/// What the losses are for: on a bandit of two steps, policy and values as free tables, training to the end reaches the soft-optimal
/// policy π*(a, b) ∝ π_ref(a, b) e^(R/β) and value V(s) = β log E_ref[e^(R/β)]. And two limits of the losses.
/// </summary>
public sealed class SoftBellmanBanditTests
{
    private const int First = 3, Second = 2, Sequences = First * Second;
    private const double Beta = 0.4;

    private static readonly double[] Rewards = [1, 0, 0, 0, 0.5, 1];

    public static TheoryData<SoftBellmanForm> Forms() => [.. Enum.GetValues<SoftBellmanForm>()];

    [Theory]
    [MemberData(nameof(Forms))]
    public void TrainingReachesTheClosedForm(SoftBellmanForm form)
    {
        // Row 0 is the choice of a, rows 1.. that of b after each a; entry i of a row is an action's logit.
        double[][] reference = [LogSoftmax([0.5, -0.3, 0.1]), LogSoftmax([0.2, 0]), LogSoftmax([-1, 0.4]), LogSoftmax([0, 0.7])];
        double[][] logits = [.. reference.Select(x => x.ToArray())];
        double[] values = new double[1 + First];
        // Tokens s₀ a b: positions 0 and 1 are states, position 2 is past the end.
        int tokens = 3 * Sequences;
        Tensor logProbs = Column(tokens), referenceLogProbs = Column(tokens), v = Column(tokens), dLogProbs = Column(tokens), dValues = Column(tokens), mask = Column(tokens), rewards = Column(Sequences);
        for (int s = 0; s < Sequences; s++)
        {
            rewards.AsSpan<float>()[s] = (float)Rewards[s];
            mask.AsSpan<float>().Slice(3 * s, 2).Fill(1);
            (int a, int b) = (s / Second, s % Second);
            (referenceLogProbs.AsSpan<float>()[3 * s], referenceLogProbs.AsSpan<float>()[3 * s + 1]) = ((float)reference[0][a], (float)reference[1 + a][b]);
        }
        var batch = new SoftBellmanBatch(logProbs, referenceLogProbs, v, mask, mask, rewards, Tensor([.. Enumerable.Range(0, Sequences + 1).Select(i => 3 * i)], Sequences + 1, 1));
        var options = new SoftBellmanOptions { Beta = Beta, Form = form };
        double loss = 1;
        for (int step = 0; step < 40000 && loss > 1e-11; step++)
        {
            double[][] current = [.. logits.Select(LogSoftmax)];
            for (int s = 0; s < Sequences; s++)
            {
                (int a, int b) = (s / Second, s % Second);
                (logProbs.AsSpan<float>()[3 * s], logProbs.AsSpan<float>()[3 * s + 1]) = ((float)current[0][a], (float)current[1 + a][b]);
                (v.AsSpan<float>()[3 * s], v.AsSpan<float>()[3 * s + 1]) = ((float)values[0], (float)values[1 + a]);
            }
            loss = Results.PolicyLoss(batch, options, dLogProbs).Loss + Results.ValueLoss(batch, options, dValues).Loss;
            for (int s = 0; s < Sequences; s++)
            {
                (int a, int b) = (s / Second, s % Second);
                Descend(logits[0], current[0], a, dLogProbs.AsSpan<float>()[3 * s]);
                Descend(logits[1 + a], current[1 + a], b, dLogProbs.AsSpan<float>()[3 * s + 1]);
                values[0] -= 0.2 * dValues.AsSpan<float>()[3 * s];
                values[1 + a] -= 0.2 * dValues.AsSpan<float>()[3 * s + 1];
            }
        }
        Assert.True(loss <= 1e-8, $"{form}: the loss stopped at {loss:G3}");
        for (int a = 0; a < First; a++)
        {
            TensorComparer.Close(Soft(reference[1 + a], Rewards.AsSpan(a * Second, Second)), values[1 + a], 1e-3, 0, $"{form}: V after {a}");
            double[] optimal = [.. Enumerable.Range(0, Second).Select(b => Math.Exp(reference[1 + a][b] + (Rewards[a * Second + b] - Soft(reference[1 + a], Rewards.AsSpan(a * Second, Second))) / Beta))];
            for (int b = 0; b < Second; b++) TensorComparer.Close(optimal[b], Math.Exp(LogSoftmax(logits[1 + a])[b]), 1e-3, 0, $"{form}: π({b} | {a})");
        }
        double[] reached = [.. Enumerable.Range(0, First).Select(a => Soft(reference[1 + a], Rewards.AsSpan(a * Second, Second)))];
        double best = Soft(reference[0], reached);
        TensorComparer.Close(best, values[0], 1e-3, 0, $"{form}: V at the start");
        for (int a = 0; a < First; a++)
            TensorComparer.Close(Math.Exp(reference[0][a] + (reached[a] - best) / Beta), Math.Exp(LogSoftmax(logits[0])[a]), 1e-3, 0, $"{form}: π({a})");
    }

    [Fact]
    public void Without_beta_the_value_loss_is_regression_on_the_return()
    {
        SoftBellmanBatch batch = Random(out int[] starts);
        ReadOnlySpan<float> values = batch.Values.AsSpan<float>(), states = batch.StateMask.AsSpan<float>();
        double expected = 0;
        var gradient = new float[values.Length];
        for (int s = 0; s < 2; s++)
        {
            int count = 0;
            for (int t = starts[s]; t < starts[s + 1]; t++) count += (int)states[t];
            for (int t = starts[s]; t < starts[s + 1]; t++)
            {
                double error = values[t] - batch.Rewards.AsSpan<float>()[s];
                if (states[t] == 0) continue;
                expected += error * error / count / 2;
                gradient[t] = (float)(2 * error / count / 2);
            }
        }
        Tensor dValues = Column(values.Length), dLogProbs = Column(values.Length);
        foreach (double beta in (double[])[1e-9, 0])
        {
            SoftBellmanResult result = Results.ValueLoss(batch, new() { Beta = beta }, dValues, dLogProbs);
            TensorComparer.Close(expected, result.Loss, 0, 1e-7, $"loss at β {beta}");
            TensorComparer.CloseToScale(gradient, dValues.ToArray<float>(), 1e-6, $"gradient at β {beta}");
            TensorComparer.Close(new float[values.Length], dLogProbs.ToArray<float>(), 1e-7, 0, $"dLogProbs at β {beta}");
        }
    }

    [Fact]
    public void The_response_forms_gradient_is_the_sum_over_tokens()
    {
        // Moving all tokens of a response together must cost what moving each alone costs in sum; a single step is the response.
        SoftBellmanBatch batch = Random(out int[] starts);
        var options = new SoftBellmanOptions { Beta = 0.3, Form = SoftBellmanForm.Response };
        Tensor d = Column(batch.LogProbs.Rows), single = Column(batch.LogProbs.Rows), none = Column(batch.LogProbs.Rows);
        double loss = Results.PolicyLoss(batch, options, d).Loss;
        float[] kept = batch.LogProbs.ToArray<float>(), actions = batch.ActionMask.ToArray<float>();
        double Moved(Func<int, float> by)
        {
            for (int t = 0; t < kept.Length; t++) batch.LogProbs.AsSpan<float>()[t] = kept[t] + by(t);
            double moved = Results.PolicyLoss(batch, options, none).Loss;
            kept.CopyTo(batch.LogProbs.AsSpan<float>());
            return moved - loss;
        }
        const float Step = 1 / 1024f;
        for (int s = 0; s < 2; s++)
        {
            (int from, int to) = (starts[s], starts[s + 1] - 1);
            double each = 0, together = (Moved(t => t >= from && t < to ? Step : 0) - Moved(t => t >= from && t < to ? -Step : 0)) / (2 * Step), sum = 0;
            for (int u = from; u < to; u++)
            {
                each += (Moved(t => t == u ? Step : 0) - Moved(t => t == u ? -Step : 0)) / (2 * Step);
                sum += d.AsSpan<float>()[u];
            }
            TensorComparer.Close(together, each, 1e-6, 1e-4, $"sequence {s}: each token");
            TensorComparer.Close(together, sum, 1e-6, 1e-4, $"sequence {s}: gradient");
        }
        float[] first = new float[actions.Length];
        foreach (int start in starts[..2]) first[start] = 1;
        Results.PolicyLoss(batch with { StateMask = Tensor(first, first.Length, 1) }, options with { Form = SoftBellmanForm.Step }, single);
        TensorComparer.CloseToScale(d.ToArray<float>(), single.ToArray<float>(), 1e-6, "one step");
    }

    /// <summary>Two sequences whose every position but the last is an action and, at the start and here and there, a state.</summary>
    private static SoftBellmanBatch Random(out int[] starts)
    {
        starts = [0, 6, 15];
        var states = new float[15];
        var actions = new float[15];
        var random = new PhiloxRandom(3);
        foreach ((int from, int to) in (ReadOnlySpan<(int, int)>)[(0, 5), (6, 14)])
            for (int t = from; t < to; t++) (actions[t], states[t]) = (1, t == from || random.Next(2) == 0 ? 1 : 0);
        return new SoftBellmanBatch(Tensor(Normal(1, 15), 15, 1), Tensor(Normal(2, 15), 15, 1), Tensor(Normal(4, 15), 15, 1), Tensor(actions, 15, 1), Tensor(states, 15, 1),
            Tensor([1f, 0f], 2, 1), Tensor(starts, 3, 1));
    }

    private static void Descend(double[] logits, double[] logProbs, int action, double slope)
    {
        // d log π(action) / d logit j = [j = action] − π(j).
        for (int j = 0; j < logits.Length; j++) logits[j] -= 2 * slope * ((j == action ? 1 : 0) - Math.Exp(logProbs[j]));
    }

    private static double Soft(ReadOnlySpan<double> reference, ReadOnlySpan<double> returns)
    {
        double sum = 0;
        for (int i = 0; i < returns.Length; i++) sum += Math.Exp(reference[i] + returns[i] / Beta);
        return Beta * Math.Log(sum);
    }

    private static double[] LogSoftmax(double[] logits)
    {
        double max = logits.Max(), sum = logits.Sum(x => Math.Exp(x - max));
        return [.. logits.Select(x => x - max - Math.Log(sum))];
    }

    private static Tensor Column(int rows) => Tensor(new float[rows], rows, 1);
}
