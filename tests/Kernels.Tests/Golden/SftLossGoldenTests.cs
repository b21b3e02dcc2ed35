using System.Text.Json;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Golden;

/// <summary>
/// The mean cross entropy of the authors' supervised trainer. The head runs with the identity as weight, so that its hidden
/// states are the given logits and their gradient is that of the logits.
/// </summary>
[Trait("Category", "Golden")]
public sealed class SftLossGoldenTests
{
    [Fact]
    public void All_cases() => OpTest.AtEveryWidth(() =>
    {
        var file = new SafetensorsFixture(TestData.Golden("pref_sft_losses.safetensors"));
        using JsonDocument index = JsonDocument.Parse(File.ReadAllText(TestData.Golden("pref_sft_losses.json")));
        int cases = 0;
        foreach (JsonElement record in index.RootElement.EnumerateArray())
        {
            if (record.GetProperty("kind").GetString() != "sft") continue;
            Check(file, record);
            cases++;
        }
        Assert.True(cases > 0, "the index lists no case");
    });

    private static void Check(SafetensorsFixture file, JsonElement record)
    {
        string key = record.GetProperty("key").GetString()!;
        int batch = (int)file.Shape($"{key}/logits")[0], length = (int)file.Shape($"{key}/logits")[1], vocabulary = (int)file.Shape($"{key}/logits")[2];
        int[] ids = file.Ints($"{key}/ids"), attention = file.Ints($"{key}/attention_mask");
        float[] logits = file.Floats($"{key}/logits");
        bool withPrompt = record.GetProperty("pretrain_mode").GetBoolean();
        List<int> places = [], targets = [];
        List<float> hidden = [];
        for (int b = 0; b < batch; b++)
        {
            int prompt = withPrompt ? 0 : record.GetProperty("prompt_id_lens")[b].GetInt32();
            for (int t = 0; t + 1 < length; t++)
            {
                int next = b * length + t + 1;
                if (attention[next] == 0 || t + 1 < prompt) continue;
                places.Add(next - 1);
                targets.Add(ids[next]);
                hidden.AddRange(logits.AsSpan((next - 1) * vocabulary, vocabulary));
            }
        }
        int rows = places.Count;
        var identity = new float[vocabulary * vocabulary];
        for (int v = 0; v < vocabulary; v++) identity[v * vocabulary + v] = 1;
        using var weight = new PackedWeight(OpTest.Tensor(identity, vocabulary, vocabulary));
        using var scratch = new Arena(Device.Cpu, LmHead.ScratchBytes(Device.Cpu, rows, vocabulary, vocabulary, withReference: false));
        Tensor Column() => Device.Cpu.Create(DType.F32, rows, 1);
        var head = new LmHeadInput(OpTest.Tensor([.. hidden], rows, vocabulary), weight, 1);
        var output = new LmHeadOutput(Column(), Column(), default, default, default, default);
        Tensor target = OpTest.Tensor([.. targets], rows, 1), dLogProb = Column(), dHidden = Device.Cpu.Create(DType.F32, rows, vocabulary);
        LmHead.Forward(head, default, KlDirection.None, target, output, scratch);
        TensorComparer.Close(record.GetProperty("loss_f32").GetDouble(), -OpTest.Doubles(output.LogProb.ToArray<float>()).Average(), 1e-6, 2e-5, $"{key} loss");

        dLogProb.AsSpan<float>().Fill(-1f / rows);
        LmHead.Backward(head, default, KlDirection.None, target, output, dLogProb, default, dHidden, Device.Cpu.Create(DType.F32, vocabulary, vocabulary), scratch);
        var gradient = new float[logits.Length];
        for (int i = 0; i < rows; i++) dHidden.AsSpan<float>().Slice(i * vocabulary, vocabulary).CopyTo(gradient.AsSpan(places[i] * vocabulary));
        TensorComparer.CloseToScale(file.Floats($"{key}/grad_logits"), gradient, 2e-5, $"{key} gradient of the logits");
    }
}
