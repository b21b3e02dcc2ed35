using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Modules;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Models;

/// <summary>How a model for inference holds its matrices: which formats change nothing, what int8 changes, what each refuses.</summary>
public sealed class WeightFormatTests : IDisposable
{
    private static readonly WeightFormat[] Formats = Enum.GetValues<WeightFormat>();
    private readonly string _folder = Directory.CreateTempSubdirectory("bellman-weights").FullName;

    public static TheoryData<string> Folders() => ModelGoldenTests.Folders("full/logits");

    [Theory]
    [MemberData(nameof(Folders))]
    [Trait("Category", "Golden")]
    public void Frozen_weights_give_the_bits_of_plain_ones(string folder)
    {
        if (folder.Length == 0) Assert.Skip("there is no golden model.");
        int[] ids = new SafetensorsFixture(Path.Combine(folder, "golden.safetensors")).Ints("full/input_ids");
        using LanguageModel plain = LanguageModel.Load(folder, trainable: true), wide = LanguageModel.Load(folder, weights: WeightFormat.F32), stored = LanguageModel.Load(folder);
        float[] expected = Logits(plain, ids);
        Assert.Equal(expected, Logits(wide, ids));
        Assert.Equal(expected, Logits(stored, ids));
        Assert.Equal(stored.Config.StoredType == DType.BF16 ? WeightFormat.BF16 : WeightFormat.F32, FormatOf(stored));
        foreach (LanguageModel model in (LanguageModel[])[wide, stored])
            Assert.Equal(Generate(plain, ids[..4]), Generate(model, ids[..4]));
    }

    [Theory]
    [MemberData(nameof(Folders))]
    [Trait("Category", "Golden")]
    public void Int8_changes_log_probs_a_little(string folder)
    {
        if (folder.Length == 0) Assert.Skip("there is no golden model.");
        var golden = new SafetensorsFixture(Path.Combine(folder, "golden.safetensors"));
        int[] ids = golden.Ints("full/input_ids");
        using LanguageModel model = LanguageModel.Load(folder, weights: WeightFormat.Int8);
        using var run = new ForwardBackward(model, ids, 0, ids.Length);
        float[] actual = run.LogProbs([.. Enumerable.Range(0, ids.Length - 1)], ids[1..]), expected = golden.Floats("full/logprobs");
        double mean = actual.Zip(expected, (a, b) => (double)Math.Abs(a - b)).Average();
        // A weight moves by at most 1/254 of its row's largest; these models of random weights show a mean change of 0.003 to 0.06.
        Assert.InRange(mean, 1e-6, 0.12);
    }

    [Fact]
    public void A_row_does_not_depend_on_the_batch_in_any_format()
    {
        foreach (WeightFormat format in Formats)
        {
            using LanguageModel model = Tiny(format);
            int[][] prompts = [.. Enumerable.Range(0, 23).Select(i => TinyModels.Prompt(i, 1 + i * 3 % 40))];
            using var together = new KvCache(model);
            KvSequence[] sequences = [.. prompts.Select(_ => together.Create())];
            int[] starts = new int[prompts.Length + 1];
            for (int s = 0; s < prompts.Length; s++) starts[s + 1] = starts[s] + prompts[s].Length;
            float[] all = together.Append(sequences, prompts.SelectMany(x => x).ToArray(), starts).ToArray<float>();
            for (int s = 0; s < prompts.Length; s++)
            {
                using var alone = new KvCache(model);
                float[] one = [];
                // The same prompt token by token: other row counts, the same bits.
                KvSequence[] sequence = [alone.Create()];
                foreach (int id in prompts[s]) one = alone.Append(sequence, [id], [0, 1]).ToArray<float>();
                Assert.Equal(all[(s * one.Length)..((s + 1) * one.Length)], one);
            }
        }
    }

    [Fact]
    public void A_decoded_token_allocates_nothing()
    {
        foreach (WeightFormat format in Formats)
        {
            using LanguageModel model = Tiny(format);
            using var generator = new Generator(model);
            long[] allocated = new long[64];
            int longest = 0;
            for (ulong seed = 0; seed < 40 && longest < 60; seed++)
            {
                int token = 0;
                long before = 0;
                foreach (int _ in generator.Stream(TinyModels.Prompt(4, 16), new SamplingOptions { MaxTokens = 60, Temperature = 2, Seed = seed }))
                {
                    long now = GC.GetAllocatedBytesForCurrentThread();
                    allocated[token++] = now - before;
                    before = now;
                }
                longest = Math.Max(longest, token);
            }
            Assert.Equal(60, longest);
            // The 36th to 47th new token lie within a page of 16; lists of ids have room for 64 by then.
            Assert.All(allocated[35..47], x => Assert.Equal(0, x));
        }
    }

    [Fact]
    public void Saved_again_float32_and_bfloat16_are_what_they_were_and_int8_is_refused()
    {
        string folder = SavedTiny(DType.BF16, out LanguageModel model);
        byte[] bytes = File.ReadAllBytes(Path.Combine(folder, CheckpointReader.SingleFile));
        foreach (WeightFormat format in (WeightFormat[])[WeightFormat.F32, WeightFormat.BF16])
        {
            string copy = Path.Combine(_folder, format.ToString());
            using LanguageModel loaded = LanguageModel.Load(folder, weights: format);
            loaded.Save(copy);
            Assert.Equal(bytes, File.ReadAllBytes(Path.Combine(copy, CheckpointReader.SingleFile)));
        }
        using LanguageModel rounded = LanguageModel.Load(folder, weights: WeightFormat.Int8);
        Assert.Contains("rounded to int8", Assert.Throws<ShapeException>(() => rounded.Save(Path.Combine(_folder, "int8"))).Message);
        model.Dispose();
    }

    [Fact]
    public void Copies_of_a_frozen_model_can_be_changed()
    {
        string folder = SavedTiny(DType.F32, out LanguageModel original);
        using LanguageModel frozen = LanguageModel.Load(folder), copy = frozen.Clone(trainable: true);
        using ValueModel value = ValueModel.FromLanguageModel(frozen);
        int[] ids = TinyModels.Prompt(1, 9);
        Assert.Equal(Logits(original, ids), Logits(copy, ids));
        Assert.Equal(original.Parameters.Items[0].Value.ToArray<float>(), value.Parameters.Items[0].Value.ToArray<float>());
        Assert.Contains("trainable: true", Assert.Throws<ShapeException>(() => frozen.Parameters.Items[0].Value).Message);
        original.Dispose();
    }

    [Fact]
    public void Each_format_takes_its_bytes()
    {
        string folder = SavedTiny(DType.BF16, out LanguageModel model);
        using LanguageModel wide = LanguageModel.Load(folder, weights: WeightFormat.F32), narrow = LanguageModel.Load(folder), small = LanguageModel.Load(folder, weights: WeightFormat.Int8);
        long vectors = 4 * wide.Parameters.Items.Where(x => x.IsPlain).Sum(x => (x.Length + 15) / 16 * 16);
        Assert.Equal((wide.Parameters.Bytes - vectors) / 2, narrow.Parameters.Bytes - vectors);
        Assert.InRange(small.Parameters.Bytes, 1, narrow.Parameters.Bytes - 1);
        model.Dispose();
    }

    [Fact]
    public void A_format_is_for_inference_only()
    {
        string folder = SavedTiny(DType.F32, out LanguageModel model);
        Assert.Contains("training", Assert.Throws<BellmanException>(() => LanguageModel.Load(folder, trainable: true, weights: WeightFormat.Int8)).Message);
        model.Dispose();
    }

    [Fact]
    public void Value_models_hold_their_trunk_the_same_way()
    {
        using ValueModel value = TinyModels.Value(4);
        string folder = Path.Combine(_folder, "value");
        value.Save(folder);
        int[] ids = TinyModels.Prompt(3, 30);
        using ValueModel wide = ValueModel.Load(folder), small = ValueModel.Load(folder, weights: WeightFormat.Int8);
        float[] expected = Values(value, ids);
        Assert.Equal(expected, Values(wide, ids));
        TensorComparer.CloseToScale(expected, Values(small, ids), 0.2, "values with int8 weights");
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static WeightFormat FormatOf(LanguageModel model) => model.Parameters.Items.Single(x => x.Parts[0].Name == "model.embed_tokens.weight").Frozen!.Format;

    private static float[] Logits(LanguageModel model, int[] ids)
    {
        using var run = new ForwardBackward(model, ids, 0, ids.Length);
        return run.Logits();
    }

    private static float[] Values(ValueModel model, int[] ids)
    {
        using var scorer = new Runtime.Scoring.ValueScorer(model);
        return scorer.Score([ids])[0];
    }

    private static (string, string) Generate(LanguageModel model, int[] prompt)
    {
        using var generator = new Generator(model);
        GenerationResult? result = null;
        generator.Run([new GenerationRequest(prompt)], SamplingOptions.Greedy with { MaxTokens = 12 }, null, x => result = x);
        return (string.Join(' ', result!.Ids), string.Join(' ', result.LogProbs.Select(BitConverter.SingleToInt32Bits)));
    }

    private LanguageModel Tiny(WeightFormat format) => LanguageModel.Load(SavedTiny(DType.F32, out LanguageModel model, format.ToString(), dispose: true), weights: format);

    private string SavedTiny(DType stored, out LanguageModel model, string name = "model", bool dispose = false)
    {
        string folder = Path.Combine(_folder, name);
        model = TinyModels.Policy(3);
        ModelFiles.Save(model, folder, stored);
        if (dispose) model.Dispose();
        return folder;
    }
}
