using System.Text.Json;
using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Runtime.Models;
using Bellman.Runtime.Modules;
using Bellman.Tests;
using Bellman.Training.Data;
using Bellman.Training.Metrics;
using Bellman.Training.Optimizers;
using Bellman.Training.Trainers;
using Xunit;

namespace Bellman.Training.Tests.Trainers;

/// <summary>Whole OREO runs of the authors' program: six micro-steps of real networks, logs and final weights.</summary>
[Trait("Category", "Golden")]
public sealed class OreoTrainGoldenTests
{
    public static TheoryData<string> Runs()
    {
        var data = new TheoryData<string>();
        foreach (string folder in TestData.GoldenFolders)
        {
            string path = Path.Combine(folder, "oreo_train.json");
            if (!File.Exists(path)) continue;
            using JsonDocument json = JsonDocument.Parse(File.ReadAllText(path));
            foreach (JsonElement run in Records(json)) data.Add(run.GetProperty("name").GetString()!);
            break;
        }
        if (data.Count == 0) data.Add("");
        return data;
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void Logs_norms_and_final_weights(string name)
    {
        string path = TestData.Golden("oreo_train.json");
        var tensors = new SafetensorsFixture(TestData.Golden("oreo_train.safetensors"));
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(path));
        JsonElement run = Records(json).First(x => x.GetProperty("name").GetString() == name), options = run.GetProperty("options");
        ModelConfig config = ModelConfig.Parse(run.GetProperty("config").GetRawText());
        using LanguageModel policy = LanguageModel.Create(config, seed: 0, trainable: true);
        Fill(policy, tensors, name + "/init/policy/");
        using LanguageModel reference = policy.Clone();
        using ValueModel value = ValueModel.Create(config, seed: 0, trainable: true);
        Fill(value, tensors, name + "/init/critic/");

        int accumulation = run.GetProperty("gradient_accumulation").GetInt32(), microSteps = run.GetProperty("logs_per_micro_step").GetArrayLength();
        List<Trajectory> trajectories = [];
        for (int step = 0; step < microSteps; step++) trajectories.AddRange(Unpad(tensors, $"{name}/step{step}/"));
        int batch = trajectories.Count / microSteps * accumulation;
        int longest = trajectories.Max(x => x.Length);
        var plan = new BatchPlan(trajectories, batch, longest * batch / accumulation, seed: 0, shuffle: false);
        JsonElement[] betas = [.. run.GetProperty("betas").EnumerateArray()];
        var adamw = new AdamWOptions
        {
            Beta1 = betas[0].GetDouble(), Beta2 = betas[1].GetDouble(), Epsilon = run.GetProperty("eps").GetDouble(),
            WeightDecay = run.GetProperty("weight_decay").GetDouble(), ClipNorm = run.GetProperty("max_grad_norm").GetDouble(),
        };
        LearningRateSchedule Schedule(string rate) => new(
            Enum.Parse<ScheduleShape>(run.GetProperty("schedule").GetString()!.Split('_')[0], ignoreCase: true), run.GetProperty(rate).GetDouble(),
            run.GetProperty("num_warmup_steps").GetInt32(), run.GetProperty("num_training_steps").GetInt32());
        bool Has(string option) => options.TryGetProperty(option, out JsonElement x) && x.ValueKind == JsonValueKind.True;
        bool stepLevel = Has("step_level");
        var oreo = new OreoOptions
        {
            Beta = run.GetProperty("beta").GetDouble(),
            Form = Has("traj_actor_loss") ? SoftBellmanForm.Response
                : Has("single_step_actor_loss") ? stepLevel ? SoftBellmanForm.SingleStepStep : SoftBellmanForm.SingleStepToken
                : stepLevel ? SoftBellmanForm.Step : SoftBellmanForm.Token,
            KlCoefficient = options.TryGetProperty("kl_reg", out JsonElement kl) ? kl.GetDouble() : 0,
            Kl = !Has("unbiased_kl") ? KlEstimate.Sampled : Has("forward_kl") ? KlEstimate.Forward : KlEstimate.Full,
        };
        using var method = new OreoMethod(
            new TrainedModel("policy", policy, new AdamWOptimizer(policy, adamw), Schedule("policy_lr")),
            new TrainedModel("value", value, new AdamWOptimizer(value, adamw), Schedule("critic_lr")),
            reference, oreo, plan.TokenCapacity, plan.SequenceCapacity);

        JsonElement[] logs = [.. run.GetProperty("logs_per_micro_step").EnumerateArray()];
        JsonElement[] policySteps = [.. run.GetProperty("policy_grad_norm_and_lr").EnumerateArray()], valueSteps = [.. run.GetProperty("critic_grad_norm_and_lr").EnumerateArray()];
        int updates = 0;
        new Trainer(method, plan, new TrainerOptions { Updates = microSteps / accumulation }).Run(progress =>
        {
            double Metric(string metric) => progress.Metrics.Values[progress.Metrics.Slot(metric)];
            double Logged(string log) => Enumerable.Range(0, accumulation).Average(i => logs[updates * accumulation + i].GetProperty(log).GetDouble());
            bool HasLog(string log) => logs[updates * accumulation].TryGetProperty(log, out _);
            string at = $"{name}, update {updates}";
            if (HasLog("actor_loss")) TensorComparer.Close(Logged("actor_loss"), Metric("policy/bellman_loss"), 1e-6, 1e-3, at + ", policy loss");
            TensorComparer.Close(Logged("loss"), Metric("value/loss"), 1e-6, 1e-3, at + ", value loss");
            TensorComparer.Close(Logged("kl_reg"), Metric("policy/kl"), 1e-6, 1e-3, at + ", KL");
            TensorComparer.Close(policySteps[updates][1].GetDouble(), Metric("policy/learning_rate"), 1e-12, 1e-7, at + ", policy rate");
            TensorComparer.Close(policySteps[updates][0].GetDouble(), Metric("policy/gradient_norm"), 1e-6, 1e-3, at + ", policy norm");
            TensorComparer.Close(valueSteps[updates][0].GetDouble(), Metric("value/gradient_norm"), 1e-6, 1e-3, at + ", value norm");
            updates++;
        });
        Assert.Equal(microSteps / accumulation, updates);
        CompareWeights(policy, tensors, name + "/final/policy/");
        CompareWeights(value, tensors, name + "/final/critic/");
    }

    private static IEnumerable<JsonElement> Records(JsonDocument json) =>
        json.RootElement.ValueKind == JsonValueKind.Array ? json.RootElement.EnumerateArray() : json.RootElement.EnumerateObject().First(x => x.Value.ValueKind == JsonValueKind.Array).Value.EnumerateArray();

    private static void Fill(DecoderModel model, SafetensorsFixture tensors, string prefix)
    {
        foreach (Parameter parameter in model.Parameters.Items)
            foreach (ParameterPart part in parameter.Parts) model.Device.Upload<float>(tensors.Floats(prefix + part.Name), parameter.ValueOf(part));
        model.WeightsChanged();
    }

    private static IEnumerable<Trajectory> Unpad(SafetensorsFixture tensors, string prefix)
    {
        int[] ids = tensors.Ints(prefix + "ids"), attention = tensors.Ints(prefix + "attention_mask"), states = tensors.Ints(prefix + "state_masks"), actions = tensors.Ints(prefix + "action_masks");
        float[] rewards = tensors.Floats(prefix + "rewards");
        int width = (int)tensors.Shape(prefix + "ids")[1];
        for (int row = 0; row < rewards.Length; row++)
        {
            int[] places = [.. Enumerable.Range(row * width, width).Where(i => attention[i] != 0)];
            // The file's action mask marks the action itself; ours marks the position before it.
            yield return new Trajectory([.. places.Select(i => ids[i])], [.. places.Select((_, t) => t + 1 < places.Length && actions[places[t + 1]] != 0)],
                [.. places.Select((i, t) => t + 1 < places.Length && states[i] != 0)], rewards[row]);
        }
    }

    private static void CompareWeights(DecoderModel model, SafetensorsFixture tensors, string prefix)
    {
        double difference = 0, total = 0;
        int compared = 0;
        foreach (Parameter parameter in model.Parameters.Items)
            foreach (ParameterPart part in parameter.Parts)
            {
                float[] expected = tensors.Floats(prefix + part.Name), actual = parameter.ValueOf(part).ToArray<float>();
                Assert.Equal(expected.Length, actual.Length);
                for (int i = 0; i < expected.Length; i++)
                {
                    difference += Math.Pow(actual[i] - expected[i], 2);
                    total += Math.Pow(expected[i], 2);
                }
                compared++;
            }
        Assert.Equal(tensors.Names.Count(x => x.StartsWith(prefix, StringComparison.Ordinal)), compared);
        TensorComparer.Close(0, Math.Sqrt(difference / total), 5e-4, 0, prefix + " relative L2 of the final weights");
    }
}
