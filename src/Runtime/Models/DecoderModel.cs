using Bellman.Kernels;
using Bellman.Kernels.Random;
using Bellman.Runtime.Modules;

namespace Bellman.Runtime.Models;

/// <summary>A decoder with a head: a <see cref="LanguageModel"/> (policy, reference) or a <see cref="ValueModel"/>.</summary>
public abstract class DecoderModel : IDisposable
{
    private const int PieceElements = 1 << 20;

    private protected DecoderModel(ModelConfig config, Device device)
    {
        Config = config.Validate();
        Parameters = new ParameterSet();
        Decoder = new Decoder(Config, Parameters, device);
    }

    /// <summary>Sizes and variants.</summary>
    public ModelConfig Config { get; }

    /// <summary>The trunk.</summary>
    public Decoder Decoder { get; }

    /// <summary>All weights and, in training, their gradients.</summary>
    public ParameterSet Parameters { get; }

    /// <summary>Where the model lives.</summary>
    public Device Device => Decoder.Device;

    /// <summary>To be called after weights were written: packed copies are made anew at their next use.</summary>
    public virtual void WeightsChanged() => Decoder.Invalidate();

    /// <summary>Writes <c>config.json</c> and <c>model.safetensors</c> into a folder, as Hugging Face lays them out.</summary>
    public void Save(string folder) => ModelFiles.Save(this, folder);

    /// <inheritdoc/>
    public virtual void Dispose()
    {
        Decoder.Dispose();
        Parameters.Dispose();
    }

    /// <summary>
    /// Fresh weights: normal with deviation 0.02, as Hugging Face initialises these families, ones for norms, zeros for biases
    /// and value heads.
    /// </summary>
    private protected void Initialise(ulong seed)
    {
        for (int i = 0; i < Parameters.Items.Count; i++)
        {
            Parameter parameter = Parameters.Items[i];
            var random = new PhiloxRandom(seed, (ulong)i);
            string name = parameter.Parts[0].Name;
            bool isNormal = parameter.Decays && name != ValueModel.HeadName;
            // Some rows at a time: a vocabulary's rows need not be there twice.
            int rows = Math.Clamp(PieceElements / parameter.Columns, 1, parameter.Rows);
            var values = new float[rows * parameter.Columns];
            if (!isNormal && name.EndsWith("norm.weight", StringComparison.Ordinal)) Array.Fill(values, 1f);
            for (int row = 0; row < parameter.Rows; row += rows)
            {
                Span<float> piece = values.AsSpan(0, Math.Min(rows, parameter.Rows - row) * parameter.Columns);
                if (isNormal)
                    foreach (ref float value in piece) value = (float)(0.02 * random.NextNormal());
                parameter.SetRows(row, piece);
            }
        }
        WeightsChanged();
    }
}
