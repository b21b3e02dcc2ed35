using System.Text.Json;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Modules;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Models;

/// <summary>Every checkpoint of the golden folder against what the Hugging Face and OREO programs computed with it.</summary>
[Trait("Category", "Golden")]
public sealed class ModelGoldenTests
{
    /// <summary>Folders whose golden numbers have a certain tensor.</summary>
    public static TheoryData<string> Folders(string tensor)
    {
        var data = new TheoryData<string>();
        foreach (string golden in TestData.GoldenFolders)
        {
            string models = Path.Combine(golden, "models");
            if (!Directory.Exists(models)) continue;
            foreach (string folder in Directory.EnumerateDirectories(models).Order())
            {
                string numbers = Path.Combine(folder, "golden.safetensors");
                if (File.Exists(numbers) && new SafetensorsFixture(numbers).Names.Any(x => x == tensor || x.EndsWith('/' + tensor))) data.Add(folder);
            }
            break;
        }
        // xunit refuses an empty theory; the test then skips with the reason.
        if (data.Count == 0) data.Add("");
        return data;
    }

    [Theory]
    [MemberData(nameof(Folders), "full/logits")]
    public void Logits_hidden_states_and_log_probs(string folder)
    {
        SafetensorsFixture golden = Open(folder);
        using LanguageModel model = LanguageModel.Load(folder);
        int[] ids = golden.Ints("full/input_ids");
        using var run = new ForwardBackward(model, ids, 0, ids.Length);
        for (int layer = 0; golden.Has($"full/hidden_states.{layer}"); layer++)
        {
            bool isLast = layer == model.Config.Layers;
            TensorComparer.Close(golden.Floats($"full/hidden_states.{layer}"), isLast ? run.Hidden.ToArray<float>() : run.HiddenState(layer), 5e-5, 0, $"hidden state {layer}");
        }
        TensorComparer.Close(golden.Floats("full/logits"), run.Logits(), 5e-5, 0, "logits");
        TensorComparer.Close(golden.Floats("full/logprobs"), run.LogProbs([.. Enumerable.Range(0, ids.Length - 1)], ids[1..]), 5e-5, 0, "log-probs");
    }

    [Theory]
    [MemberData(nameof(Folders), "full/labels")]
    public void Loss_and_every_gradient(string folder)
    {
        SafetensorsFixture golden = Open(folder);
        using LanguageModel model = LanguageModel.Load(folder, trainable: true);
        int[] ids = golden.Ints("full/input_ids"), labels = golden.Ints("full/labels");
        int[] rows = [.. Enumerable.Range(0, ids.Length - 1).Where(t => labels[t + 1] >= 0)];
        using var run = new ForwardBackward(model, ids, 0, ids.Length);
        float[] weights = [.. rows.Select(_ => -1f / rows.Length)];
        float[] logProbs = run.LogProbs(rows, [.. rows.Select(t => labels[t + 1])], weights);
        TensorComparer.Close(Case(folder).GetProperty("sft_loss").GetDouble(), -logProbs.Select(x => (double)x).Average(), 0, 1e-5, "loss");
        int compared = 0;
        double norm = 0;
        foreach (Parameter parameter in model.Parameters.Items)
            foreach (ParameterPart part in parameter.Parts)
            {
                float[] actual = parameter.GradientOf(part).ToArray<float>();
                norm += actual.Sum(x => (double)x * x);
                TensorComparer.CloseToScale(golden.Floats($"full/grad/{part.Name}"), actual, 1e-4, part.Name);
                compared++;
            }
        Assert.Equal(golden.Names.Count(x => x.StartsWith("full/grad/", StringComparison.Ordinal)), compared);
        TensorComparer.Close(Case(folder).GetProperty("grad_global_norm").GetDouble(), Math.Sqrt(norm), 0, 1e-4, "gradient norm");

        // Blocks that are computed again in the backward give the same bits.
        float[][] gradients = [.. model.Parameters.Items.Select(x => x.Gradient.ToArray<float>())];
        using var recomputed = new ForwardBackward(model, KeptActivations.BlockInputs, ids, 0, ids.Length);
        Assert.Equal(logProbs, recomputed.LogProbs(rows, [.. rows.Select(t => labels[t + 1])], weights));
        for (int i = 0; i < gradients.Length; i++)
            Assert.True(gradients[i].AsSpan().SequenceEqual(model.Parameters.Items[i].Gradient.ToArray<float>()), model.Parameters.Items[i].Parts[0].Name);
    }

    [Theory]
    [MemberData(nameof(Folders), "pad_right/logits")]
    public void Padded_batches_equal_packed_rows(string folder)
    {
        SafetensorsFixture golden = Open(folder);
        using LanguageModel model = LanguageModel.Load(folder);
        foreach (string side in (string[])["pad_right", "pad_left"])
        {
            int width = (int)golden.Shape($"{side}/input_ids")[1], vocabulary = model.Config.VocabularySize;
            int[] padded = golden.Ints($"{side}/input_ids"), mask = golden.Ints($"{side}/attention_mask");
            float[] logits = golden.Floats($"{side}/logits"), logProbs = golden.Floats($"{side}/logprobs");
            (List<int> ids, List<int> starts, List<int> places) = Unpad(padded, mask, width);
            using var run = new ForwardBackward(model, [.. ids], [.. starts]);
            float[] ours = run.Logits();
            for (int i = 0; i < places.Count; i++)
                TensorComparer.Close(logits.AsSpan(places[i] * vocabulary, vocabulary), ours.AsSpan(i * vocabulary, vocabulary), 5e-5, 0, $"{side} logits at {places[i]}");
            int[] rows = [.. Enumerable.Range(0, ids.Count - 1).Where(i => !starts.Contains(i + 1))];
            float[] ourLogProbs = run.LogProbs(rows, [.. rows.Select(i => ids[i + 1])]);
            float[] expected = [.. rows.Select(i => logProbs[places[i] / width * (width - 1) + places[i] % width])];
            TensorComparer.Close(expected, ourLogProbs, 5e-5, 0, $"{side} log-probs");
        }
    }

    [Theory]
    [MemberData(nameof(Folders), "packed/logits")]
    public void Packed_sequences_do_not_see_each_other(string folder)
    {
        SafetensorsFixture golden = Open(folder);
        using LanguageModel model = LanguageModel.Load(folder);
        int[] segments = golden.Ints("packed/segment_ids");
        int[] starts = [.. Enumerable.Range(0, segments.Length).Where(t => t == 0 || segments[t] != segments[t - 1]), segments.Length];
        using var run = new ForwardBackward(model, golden.Ints("packed/input_ids"), starts);
        TensorComparer.Close(golden.Floats("packed/logits"), run.Logits(), 5e-5, 0, "logits");
    }

    [Theory]
    [MemberData(nameof(Folders), "greedy/output_ids")]
    public void Greedy_generation(string folder)
    {
        SafetensorsFixture golden = Open(folder);
        using LanguageModel model = LanguageModel.Load(folder);
        int[] output = golden.Ints("greedy/output_ids");
        int[] prompt = golden.Has("greedy/prompt_ids") ? golden.Ints("greedy/prompt_ids") : golden.Has("greedy/input_ids") ? golden.Ints("greedy/input_ids") : output[..12];
        using var generator = new Generator(model);
        int[] drawn = [.. generator.Stream(prompt, SamplingOptions.Greedy with { MaxTokens = output.Length - prompt.Length })];
        Assert.Equal(output[prompt.Length..(prompt.Length + drawn.Length)], drawn);
        // Hugging Face's run was told to make all its tokens; ours may end earlier only at an end token.
        Assert.True(drawn.Length == output.Length - prompt.Length || model.Config.EosIds.Contains(drawn[^1]));
    }

    [Theory]
    [MemberData(nameof(Folders), "values")]
    public void Values_of_a_critic_and_their_gradients(string folder)
    {
        SafetensorsFixture golden = Open(folder);
        string prefix = golden.Names.First(x => x.EndsWith("values", StringComparison.Ordinal))[..^"values".Length];
        using ValueModel model = ValueModel.Load(folder, trainable: true);
        int batch = (int)golden.Shape(prefix + "input_ids")[0], width = (int)golden.Shape(prefix + "input_ids")[1];
        int[] padded = golden.Ints(prefix + "input_ids"), mask = golden.Ints(prefix + "attention_mask");
        float[] values = golden.Floats(prefix + "values"), target = golden.Floats(prefix + "target");
        (List<int> ids, List<int> starts, List<int> places) = Unpad(padded, mask, width);
        using var run = new ForwardBackward(model, [.. ids], [.. starts]);
        float[] ours = run.Values();
        var dValues = new float[ids.Count];
        for (int i = 0; i < places.Count; i++)
        {
            int b = places[i] / width, t = places[i] % width;
            if (t == width - 1) continue;
            int index = b * (width - 1) + t;
            TensorComparer.Close(values[index], ours[i], 5e-5, 0, $"value of row {b}, token {t}");
            int count = Enumerable.Range(0, width - 1).Sum(x => mask[b * width + x]);
            dValues[i] = 2f * (ours[i] - target[index]) / count / batch;
        }
        run.ValuesBackward(dValues);
        int compared = 0;
        foreach (Parameter parameter in model.Parameters.Items)
            foreach (ParameterPart part in parameter.Parts)
            {
                TensorComparer.CloseToScale(golden.Floats($"{prefix}grad/{part.Name}"), parameter.GradientOf(part).ToArray<float>(), 1e-4, part.Name);
                compared++;
            }
        Assert.Equal(golden.Names.Count(x => x.StartsWith(prefix + "grad/", StringComparison.Ordinal)), compared);
    }

    internal static SafetensorsFixture Open(string folder)
    {
        if (folder.Length == 0) Assert.Skip($"no models/ with such golden numbers in {string.Join(", ", TestData.GoldenFolders)}; set BELLMAN_GOLDEN.");
        return new SafetensorsFixture(Path.Combine(folder, "golden.safetensors"));
    }

    /// <summary>Ids without padding, where each row starts, and the place that each id had.</summary>
    private static (List<int> Ids, List<int> Starts, List<int> Places) Unpad(int[] padded, int[] mask, int width)
    {
        List<int> ids = [], starts = [0], places = [];
        for (int place = 0; place < padded.Length; place++)
        {
            if (mask[place] != 0)
            {
                ids.Add(padded[place]);
                places.Add(place);
            }
            if ((place + 1) % width == 0) starts.Add(ids.Count);
        }
        return (ids, starts, places);
    }

    private static JsonElement Case(string folder)
    {
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "..", "models.json")));
        return json.RootElement.GetProperty("models").EnumerateArray().First(x => x.GetProperty("model").GetString() == Path.GetFileName(folder)).Clone();
    }
}
