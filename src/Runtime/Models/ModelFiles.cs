using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Modules;

namespace Bellman.Runtime.Models;

/// <summary>Moves weights between a model and a Hugging Face folder.</summary>
internal static class ModelFiles
{
    /// <summary>Fills a model from a folder; disposes it when that fails.</summary>
    /// <param name="model">Freshly made from the folder's configuration.</param>
    /// <param name="folder">The folder.</param>
    /// <param name="optional">A tensor that may be missing and then stays zero, or null.</param>
    public static TModel LoadInto<TModel>(TModel model, string folder, string? optional) where TModel : DecoderModel
    {
        try
        {
            using CheckpointReader reader = CheckpointReader.Open(folder);
            var expected = new List<string>();
            foreach (Parameter parameter in model.Parameters.Items)
                foreach (ParameterPart part in parameter.Parts)
                    if (part.Name != optional || reader.Contains(part.Name)) expected.Add(part.Name);
            reader.RequireNames(expected, IsUnused);
            foreach (Parameter parameter in model.Parameters.Items)
                foreach (ParameterPart part in parameter.Parts)
                    if (reader.Contains(part.Name)) reader.Load(part.Name, Shape(parameter, part), parameter.ValueOf(part));
            model.WeightsChanged();
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Writes <c>config.json</c> and the weights, in the element type the configuration names.</summary>
    public static void Save(DecoderModel model, string folder)
    {
        Directory.CreateDirectory(folder);
        model.Config.Save(folder);
        CheckpointWriter.Write(folder, Tensors(model));
    }

    /// <summary>Checkpoint shape of a part: one dimension for norms and biases, [rows, columns] for matrices.</summary>
    public static long[] Shape(Parameter parameter, ParameterPart part) => part.IsVector ? [part.Rows] : [part.Rows, parameter.Columns];

    private static IEnumerable<SafetensorsTensor> Tensors(DecoderModel model) =>
        from parameter in model.Parameters.Items
        from part in parameter.Parts
        select SafetensorsTensor.From(part.Name, Shape(parameter, part), parameter.ValueOf(part), model.Config.StoredType);

    // Saved by some programs though nobody needs them: a tied or foreign head, and rotary tables.
    private static bool IsUnused(string name) =>
        name is LanguageModel.HeadName or ValueModel.HeadName || name.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal);
}
