using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Modules;

namespace Bellman.Runtime.Models;

/// <summary>Moves weights between a model and a Hugging Face folder.</summary>
public static class ModelFiles
{
    /// <summary>Fills a model from a folder; disposes it when that fails.</summary>
    /// <param name="model">Freshly made from the folder's configuration.</param>
    /// <param name="folder">The folder.</param>
    /// <param name="optional">A tensor that may be missing and then stays zero, or null.</param>
    internal static TModel LoadInto<TModel>(TModel model, string folder, string? optional) where TModel : DecoderModel
    {
        try
        {
            Read(model, folder, optional);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Replaces the weights of a model by those of a folder of the same shapes.</summary>
    /// <exception cref="CheckpointException">A file is missing or does not fit.</exception>
    public static void LoadWeights(DecoderModel model, string folder) => Read(model, folder, optional: null);

    /// <summary>Writes <c>config.json</c> and the weights.</summary>
    /// <param name="model">The model.</param>
    /// <param name="folder">Where to; made when it is missing.</param>
    /// <param name="stored">Element type on disk; the configuration's by default.</param>
    /// <exception cref="CheckpointException">The disk refuses.</exception>
    public static void Save(DecoderModel model, string folder, DType? stored = null)
    {
        ModelConfig config = model.Config with { StoredType = stored ?? model.Config.StoredType };
        Directory.CreateDirectory(folder);
        config.Save(folder);
        CheckpointWriter.Write(folder, Tensors(model, config.StoredType));
    }

    /// <summary>How a model from a folder holds its matrices; null for plain ones.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="device">Where it goes.</param>
    /// <param name="trainable">Whether it is trained.</param>
    /// <param name="wanted">What was asked for; null for what the folder suggests.</param>
    /// <exception cref="CheckpointException">A file is missing or malformed.</exception>
    internal static WeightFormat? FormatFor(string folder, Device device, bool trainable, WeightFormat? wanted)
    {
        if (wanted is not null || trainable || device != Device.Cpu) return wanted;
        using CheckpointReader reader = CheckpointReader.Open(folder);
        bool isNarrow = reader.Names.Select(reader.Entry).Where(x => x.Shape.Count == 2).All(x => x.Type == SafetensorsTypes.BF16);
        return isNarrow ? WeightFormat.BF16 : WeightFormat.F32;
    }

    private static void Read(DecoderModel model, string folder, string? optional)
    {
        using CheckpointReader reader = CheckpointReader.Open(folder);
        var expected = new List<string>();
        foreach (Parameter parameter in model.Parameters.Items)
            foreach (ParameterPart part in parameter.Parts)
                if (part.Name != optional || reader.Contains(part.Name)) expected.Add(part.Name);
        reader.RequireNames(expected, IsUnused);
        foreach (Parameter parameter in model.Parameters.Items)
            foreach (ParameterPart part in parameter.Parts)
            {
                if (!reader.Contains(part.Name)) continue;
                if (parameter.Frozen is { } frozen)
                {
                    reader.Load(part.Name, Shape(parameter, part), frozen, part.Row);
                    continue;
                }
                reader.Load(part.Name, Shape(parameter, part), parameter.ValueOf(part));
                if (parameter.IsRounded) reader.Load(part.Name, Shape(parameter, part), parameter.ExactOf(part));
            }
        model.WeightsChanged();
    }

    /// <summary>Checkpoint shape of a part: one dimension for norms and biases, [rows, columns] for matrices.</summary>
    private static long[] Shape(Parameter parameter, ParameterPart part) => part.IsVector ? [part.Rows] : [part.Rows, parameter.Columns];

    private static IEnumerable<SafetensorsTensor> Tensors(DecoderModel model, DType stored) =>
        from parameter in model.Parameters.Items
        from part in parameter.Parts
        select parameter.Frozen is null
            ? SafetensorsTensor.From(part.Name, Shape(parameter, part), parameter.ExactOf(part), stored)
            : SafetensorsTensor.Rows(part.Name, part.Rows, parameter.Columns, (row, target) => parameter.GetRow(part.Row + row, target), stored);

    // Saved by some programs though nobody needs them: a tied or foreign head, and rotary tables.
    private static bool IsUnused(string name) =>
        name is LanguageModel.HeadName or ValueModel.HeadName || name.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal);
}
