using Bellman.Kernels.Random;
using Bellman.Runtime.Models;
using Bellman.Runtime.Modules;
using Bellman.Tests;
using Bellman.Training.Data;
using Bellman.Training.Metrics;
using Bellman.Training.Optimizers;
using Bellman.Training.Trainers;
using Xunit;

namespace Bellman.Training.Tests.Trainers;

/// <summary>DQO, the sampled KL with computed reference log-probs, and the whole objective's gradient, through a tiny model.</summary>
public sealed class OreoVariantTests
{
    private static readonly ModelConfig Config = new()
    {
        ModelType = "llama", VocabularySize = 11, HiddenSize = 8, IntermediateSize = 12, Layers = 1, Heads = 2, KeyValueHeads = 1, HeadDimension = 4, MaxPositions = 32, EosIds = [1],
    };

    private static readonly string[] Compared = ["policy/bellman_loss", "policy/kl", "value/loss", "policy/log_ratio"];

    [Fact]
    public void Dqo_is_the_value_residuals_gradient_for_both_models()
    {
        // By definition: V_t − R + βC_t squared, mean over states, mean over sequences. Central differences of that loss over weights
        // of both models must give what DQO accumulates, whatever either loss of OREO holds constant.
        using var run = new Run(OreoOptions.Dqo with { Beta = 0.4 });
        run.Accumulate();
        CheckGradients(run, () => run.Metric("value/loss"), "DQO");
        Assert.Equal(run.Metric("value/loss"), run.Metric("policy/bellman_loss"));
        Assert.Equal(run.Metric("policy/loss"), run.Metric("value/loss"));
    }

    [Fact]
    public void Dqo_equals_oreo_without_stop_gradient_and_regulariser_on_sequences_of_one_action()
    {
        // With one action there is no later log-ratio to hold constant, so OREO's two losses without regulariser are DQO's one.
        using var dqo = new Run(OreoOptions.Dqo with { Beta = 0.4 }, actions: 1);
        using var oreo = new Run(new OreoOptions { Beta = 0.4, KlCoefficient = 0 }, actions: 1);
        dqo.Accumulate();
        oreo.Accumulate();
        foreach ((Parameter a, Parameter b) in dqo.Parameters.Zip(oreo.Parameters))
            TensorComparer.CloseToScale(a.Gradient.ToArray<float>(), b.Gradient.ToArray<float>(), 1e-5, a.Parts[0].Name, floor: 1e-6);
        Assert.Equal(dqo.Metric("value/loss"), oreo.Metric("value/loss"), 6);
    }

    [Fact]
    public void Oreos_two_objectives_are_what_their_gradients_say()
    {
        // With later log-ratios constant no single number is differentiated; at response level and with KL over the vocabulary the
        // policy's objective is one, and the value's always is.
        using var run = new Run(new OreoOptions { Beta = 0.4, KlCoefficient = 0.3, Form = Kernels.Ops.SoftBellman.SoftBellmanForm.Response });
        run.Accumulate();
        CheckGradients(run, () => run.Metric("policy/loss"), "policy", "policy");
        CheckGradients(run, () => run.Metric("value/loss"), "value", "value");
    }

    [Theory]
    [InlineData(KlEstimate.Forward)]
    [InlineData(KlEstimate.Sampled)]
    public void Regularisers_are_what_their_gradients_say(KlEstimate kl)
    {
        using var run = new Run(new OreoOptions { Beta = 0.4, KlCoefficient = 0.3, Kl = kl, Form = Kernels.Ops.SoftBellman.SoftBellmanForm.Response });
        run.Accumulate();
        CheckGradients(run, () => run.Metric("policy/loss"), $"{kl}", "policy");
    }

    [Fact]
    public void Computed_log_probs_of_the_reference_give_the_same_update()
    {
        var options = new OreoOptions { Beta = 0.4, KlCoefficient = 0.3, Kl = KlEstimate.Sampled };
        using var live = new Run(options);
        using var cached = new Run(options, cached: true);
        live.Accumulate();
        cached.Accumulate();
        foreach (string name in Compared) TensorComparer.Close(live.Metric(name), cached.Metric(name), 1e-7, 1e-5, name);
        foreach ((Parameter a, Parameter b) in live.Parameters.Zip(cached.Parameters))
            TensorComparer.CloseToScale(a.Gradient.ToArray<float>(), b.Gradient.ToArray<float>(), 1e-5, a.Parts[0].Name);
        Kernels.BellmanException error = Assert.Throws<Kernels.BellmanException>(() => new Run(new OreoOptions(), cached: true));
        Assert.Equal("OREO: computed log-probs of the reference serve the sampled KL only, received Full; give the reference model.", error.Message);
        Assert.Throws<Kernels.BellmanException>(() => new Run(OreoOptions.Dqo with { AveragePolicyDecay = 0.9 }));
    }

    /// <summary>Directional derivatives along the gradient of each parameter, which float32 resolves where single weights do not.</summary>
    private static void CheckGradients(Run run, Func<double> loss, string what, string? only = null)
    {
        int checkedParameters = 0;
        foreach ((string name, DecoderModel model) in run.Models)
        {
            if (only is not null && name != only) continue;
            foreach (Parameter parameter in model.Parameters.Items)
            {
                // A copy: measuring accumulates into the gradients.
                float[] gradient = run.Gradients[parameter], values = parameter.Value.ToArray<float>();
                double norm = Math.Sqrt(gradient.Sum(x => (double)x * x));
                if (norm < 1e-4) continue;
                const double Step = 4e-3;
                double Measure(double distance)
                {
                    model.Device.Upload<float>([.. values.Select((x, i) => (float)(x + distance * gradient[i] / norm))], parameter.Value);
                    model.WeightsChanged();
                    run.Accumulate();
                    return loss();
                }
                double slope = (Measure(Step) - Measure(-Step)) / (2 * Step);
                model.Device.Upload<float>(values, parameter.Value);
                model.WeightsChanged();
                TensorComparer.Close(norm, slope, 1e-4, 1e-2, $"{what}: slope along {name} {parameter.Parts[0].Name}");
                checkedParameters++;
            }
        }
        run.Accumulate();
        Assert.True(checkedParameters >= 5, $"{what}: only {checkedParameters} parameters have a gradient");
    }

    /// <summary>Models, one micro-batch of four sequences, and the method; nothing is optimised.</summary>
    private sealed class Run : IDisposable
    {
        private readonly LanguageModel _policy = LanguageModel.Create(Config, 1, trainable: true), _reference = LanguageModel.Create(Config, 2);
        private readonly ValueModel _value = ValueModel.Create(Config, 3, trainable: true);
        private readonly OreoMethod _method;
        private readonly PackedRows _rows = new(64, 4);
        private readonly MetricRecord _metrics = new();
        private readonly UpdateTotals _totals;

        public Run(OreoOptions options, bool cached = false, int actions = 0)
        {
            var random = new PhiloxRandom(9);
            var data = new List<Trajectory>();
            for (int i = 0; i < 4; i++)
            {
                int length = 5 + 2 * i;
                bool[] mask = [.. Enumerable.Range(0, length).Select(t => t >= 2 && t < (actions > 0 ? 2 + actions : length - 1))];
                data.Add(new Trajectory([.. Enumerable.Range(0, length).Select(_ => random.Next(Config.VocabularySize))], mask, mask, i % 2));
            }
            _rows.Fill(data, [0, 1, 2, 3]);
            _totals = new UpdateTotals(0, 4, data.Sum(x => x.ActionCount), data.Sum(x => x.StateCount));
            // The head starts at 0, where V has no gradient for the trunk.
            foreach (Parameter parameter in _value.Parameters.Items)
                if (parameter.Parts[0].Name == "value_head.weight") _value.Device.Upload<float>([.. Enumerable.Range(0, Config.HiddenSize).Select(_ => 0.3f * (float)random.NextNormal())], parameter.Value);
            _value.WeightsChanged();
            TrainedModel Trained(string name, DecoderModel model) => new(name, model, new AdamWOptimizer(model, new AdamWOptions()), new LearningRateSchedule(ScheduleShape.Constant, 1e-3, 0, 1));
            _method = cached
                ? new OreoMethod(Trained("policy", _policy), Trained("value", _value), ReferenceLogProbs.Compute(_reference, data), options, 64, 4)
                : new OreoMethod(Trained("policy", _policy), Trained("value", _value), _reference, options, 64, 4);
        }

        public IEnumerable<(string Name, DecoderModel Model)> Models => [("policy", _policy), ("value", _value)];

        public IEnumerable<Parameter> Parameters => _policy.Parameters.Items.Concat(_value.Parameters.Items);

        /// <summary>Gradients of the first accumulation.</summary>
        public Dictionary<Parameter, float[]> Gradients { get; } = [];

        public void Accumulate()
        {
            _policy.Parameters.ClearGradients();
            _value.Parameters.ClearGradients();
            _metrics.Clear();
            _method.Accumulate(_rows, _totals);
            _method.Report(_metrics);
            if (Gradients.Count > 0) return;
            foreach (Parameter parameter in Parameters) Gradients[parameter] = parameter.Gradient.ToArray<float>();
        }

        public double Metric(string name) => _metrics.Get(name)!.Value;

        public void Dispose()
        {
            _method.Dispose();
            _policy.Dispose();
            _value.Dispose();
            _reference.Dispose();
        }
    }
}
