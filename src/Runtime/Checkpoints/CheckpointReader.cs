using System.Buffers;
using Bellman.Kernels;
using Bellman.Kernels.Ops.MatMul;
using static Bellman.Runtime.Checkpoints.SafetensorsTypes;

namespace Bellman.Runtime.Checkpoints;

/// <summary>
/// The weights of a Hugging Face folder as one map from names to tensors, whether they lie in <c>model.safetensors</c> or in
/// shards listed by <c>model.safetensors.index.json</c>. As in the Python readers, the single file wins where both are there.
/// Reading from several threads at once is allowed.
/// </summary>
public sealed class CheckpointReader : IDisposable
{
    /// <summary>File name of the weights in one file.</summary>
    public const string SingleFile = "model.safetensors";

    /// <summary>File name of the list of shards.</summary>
    public const string IndexFile = "model.safetensors.index.json";

    // Elements converted at a time: 1 MiB of floats stays in the cache.
    private const int PieceElements = 1 << 18;

    private readonly Dictionary<string, SafetensorsReader> _home = [];
    private readonly List<SafetensorsReader> _files = [];
    private readonly List<string> _names = [];

    private CheckpointReader(string folder) => Folder = folder;

    /// <summary>The folder as it was named.</summary>
    public string Folder { get; }

    /// <summary>All tensors, shard by shard.</summary>
    public IReadOnlyList<string> Names => _names;

    /// <summary>Opens the weights of a folder; every header is checked, no tensor is read yet.</summary>
    /// <exception cref="CheckpointException">The folder or a file is missing or malformed.</exception>
    public static CheckpointReader Open(string folder)
    {
        var reader = new CheckpointReader(folder);
        try
        {
            string single = Path.Combine(folder, SingleFile), index = Path.Combine(folder, IndexFile);
            if (File.Exists(single)) reader.Add(SafetensorsReader.Open(single), null);
            else if (File.Exists(index)) reader.AddShards(index);
            else throw NoWeights(folder);
            return reader;
        }
        catch
        {
            reader.Dispose();
            throw;
        }
    }

    /// <summary>Whether a tensor is there.</summary>
    public bool Contains(string name) => _home.ContainsKey(name);

    /// <summary>Type and shape of a tensor.</summary>
    /// <exception cref="CheckpointException">There is no such tensor.</exception>
    public SafetensorsEntry Entry(string name) => Home(name).Entry(name);

    /// <summary>Reads a whole tensor as floats; see <see cref="SafetensorsReader.ReadFloats(string, Span{float})"/>.</summary>
    /// <exception cref="CheckpointException">No such tensor, another length, an integer type, or the disk fails.</exception>
    public void ReadFloats(string name, Span<float> target) => Home(name).ReadFloats(name, target);

    /// <summary>Reads part of a tensor as floats; see <see cref="SafetensorsReader.ReadFloats(string, long, Span{float})"/>.</summary>
    /// <exception cref="CheckpointException">No such tensor, a range outside it, an integer type, or the disk fails.</exception>
    public void ReadFloats(string name, long start, Span<float> target) => Home(name).ReadFloats(name, start, target);

    /// <summary>Reads the stored bytes of a whole tensor.</summary>
    /// <exception cref="CheckpointException">No such tensor, another size, or the disk fails.</exception>
    public void ReadRaw(string name, Span<byte> target) => Home(name).ReadRaw(name, target);

    /// <summary>
    /// Loads a weight into a tensor of any device and of type F32 or BF16, after checking that it has the expected shape; every
    /// number must be finite. The target may view the same elements with other rows and columns.
    /// </summary>
    /// <param name="name">Name in the folder.</param>
    /// <param name="shape">Sizes that the model's configuration asks for.</param>
    /// <param name="target">Where the weight goes; as many elements as the shape has.</param>
    /// <exception cref="CheckpointException">The tensor is missing, has another shape or an integer type, or holds NaN or infinity.</exception>
    public void Load(string name, IReadOnlyList<long> shape, Tensor target)
    {
        SafetensorsReader file = Fitting(name, shape);
        if (file.Entry(name).Length != target.Length || target.Type is not (DType.F32 or DType.BF16))
            throw new ShapeException($"Loading tensor {Quote(name)}: expected an F32 or BF16 tensor of {file.Entry(name).Length} elements, received {target}; allocate it by the model's configuration.");
        if (target.Length == 0) return;
        if (target.Length <= int.MaxValue) target = target.Reshape((int)target.Length, 1);
        BFloat16[] narrow = ArrayPool<BFloat16>.Shared.Rent(target.Type == DType.BF16 ? Math.Max(PieceElements, target.Columns) : 0);
        ReadPieces(file, name, target.Rows, target.Columns, (row, values) =>
        {
            Tensor part = target.Slice(row, values.Length / target.Columns);
            if (target.Type == DType.F32)
            {
                part.Device.Upload<float>(values, part);
                return;
            }
            FloatConversion.ToBFloat16(values, narrow);
            part.Device.Upload<BFloat16>(narrow.AsSpan(0, values.Length), part);
        });
        ArrayPool<BFloat16>.Shared.Return(narrow);
    }

    /// <summary>Loads a matrix into rows of frozen weights, a piece at a time, after the same checks.</summary>
    /// <param name="name">Name in the folder.</param>
    /// <param name="shape">Sizes that the model's configuration asks for.</param>
    /// <param name="target">Where the weight goes.</param>
    /// <param name="first">Row of the target where it begins.</param>
    /// <exception cref="CheckpointException">The tensor is missing, has another shape or an integer type, or holds NaN or infinity.</exception>
    public void Load(string name, IReadOnlyList<long> shape, FrozenWeight target, int first) =>
        ReadPieces(Fitting(name, shape), name, (int)shape[0], target.Inputs, (row, values) => target.SetRows(first + row, values));

    /// <summary>The file that holds a tensor, which must have a shape.</summary>
    private SafetensorsReader Fitting(string name, IReadOnlyList<long> shape)
    {
        SafetensorsReader file = Home(name);
        SafetensorsEntry entry = file.Entry(name);
        if (!entry.Shape.SequenceEqual(shape))
            throw new CheckpointException($"{file.Path}: tensor {Quote(name)}: expected shape {Describe(shape)} by {ConfigName}, received {Describe(entry.Shape)}; "
                + "the weights and the configuration belong to different models.");
        return file;
    }

    /// <summary>Reads a tensor as floats, whole rows at a time; every number must be finite.</summary>
    private static void ReadPieces(SafetensorsReader file, string name, int rows, int columns, TakeRows take)
    {
        int most = Math.Clamp(PieceElements / columns, 1, Math.Max(1, rows));
        float[] floats = ArrayPool<float>.Shared.Rent(most * columns);
        for (int row = 0; row < rows; row += most)
        {
            Span<float> values = floats.AsSpan(0, Math.Min(most, rows - row) * columns);
            long start = (long)row * columns;
            file.ReadFloats(name, start, values);
            if (FloatConversion.FirstNonFinite(values) is >= 0 and var bad)
                throw new CheckpointException($"{file.Path}: tensor {Quote(name)}: expected finite weights, received {values[bad]} at element {start + bad}; the model is damaged, save or download it again.");
            take(row, values);
        }
        ArrayPool<float>.Shared.Return(floats);
    }

    private delegate void TakeRows(int row, ReadOnlySpan<float> values);

    /// <summary>Refuses a folder whose tensors are not exactly the expected ones; all missing and all unknown names are reported together.</summary>
    /// <param name="expected">Names that the model's configuration asks for.</param>
    /// <param name="ignored">Names that may be there without being used, such as a tied head that was saved all the same.</param>
    /// <exception cref="CheckpointException">A name is missing or unknown.</exception>
    public void RequireNames(IReadOnlyCollection<string> expected, Func<string, bool>? ignored = null)
    {
        string[] missing = [.. expected.Where(x => !Contains(x))];
        var known = new HashSet<string>(expected);
        string[] unknown = [.. _names.Where(x => !known.Contains(x) && ignored?.Invoke(x) != true)];
        if (missing.Length == 0 && unknown.Length == 0) return;
        throw new CheckpointException($"{Folder}: the weights do not fit {ConfigName}:{List(" missing ", missing)}{List(" unknown ", unknown)} use the weights and the configuration of one model.");
    }

    /// <summary>Closes all files.</summary>
    public void Dispose()
    {
        foreach (SafetensorsReader file in _files) file.Dispose();
    }

    // The configuration file's name is part of the layout of the folder; the type that reads it lies in another namespace.
    private const string ConfigName = "config.json";

    private static string List(string title, string[] names)
    {
        if (names.Length == 0) return "";
        string more = names.Length > 8 ? $" and {names.Length - 8} more" : "";
        return $"{title}{string.Join(", ", names.Take(8).Select(Quote))}{more};";
    }

    private SafetensorsReader Home(string name) => _home.TryGetValue(name, out SafetensorsReader? file) ? file
        : throw new CheckpointException($"{Folder}: expected a tensor {Quote(name)}, but none of the {_names.Count} tensors has this name; check that weights and {ConfigName} belong to one model.");

    private void Add(SafetensorsReader file, Dictionary<string, string>? index)
    {
        _files.Add(file);
        foreach (string name in file.Names)
        {
            // A tensor in two shards is read from the one that the index names.
            if (index is not null && index.TryGetValue(name, out string? listed) && listed != Path.GetFileName(file.Path)) continue;
            if (!_home.TryAdd(name, file))
                throw new CheckpointException($"{file.Path}: tensor {Quote(name)} is also in {_home[name].Path} and the index names neither; save the model again.");
            _names.Add(name);
        }
    }

    private void AddShards(string path)
    {
        JsonFields map = JsonFields.Read(path).Object("weight_map")
            ?? throw new CheckpointException($"{path}: 'weight_map' is missing, expected an object from tensor names to shard files; download or save the file again.");
        var shards = new SortedSet<string>(StringComparer.Ordinal);
        var listed = new Dictionary<string, string>();
        foreach ((string name, _) in map.Json)
        {
            string shard = map.OptionalText(name) ?? throw map.Wrong(name, "the name of a shard", null);
            // A folder must not be able to point at files elsewhere on the machine.
            if (shard.Length == 0 || shard is "." or ".." || shard.AsSpan().IndexOfAny("/\\:\0") >= 0)
                throw new CheckpointException($"{path}: tensor {Quote(name)}: expected a shard in the same folder, received {Quote(shard)}; correct the index.");
            shards.Add(shard);
            listed.Add(name, shard);
        }
        if (shards.Count == 0) throw new CheckpointException($"{path}: 'weight_map' is empty, expected tensor names; download or save the file again.");
        foreach (string shard in shards)
        {
            string file = Path.Combine(Folder, shard);
            if (!File.Exists(file))
                throw new CheckpointException($"{Folder}: shard {Quote(shard)} is missing, {IndexFile} lists it; download the missing file.");
            Add(SafetensorsReader.Open(file), listed);
        }
        foreach ((string name, string shard) in listed)
            if (!Contains(name))
                throw new CheckpointException($"{Path.Combine(Folder, shard)}: tensor {Quote(name)} is missing, {IndexFile} says it is in this shard; download the shard again.");
    }

    private static CheckpointException NoWeights(string folder)
    {
        if (!Directory.Exists(folder)) return new CheckpointException($"{folder}: expected a model folder, but there is no such folder; check the path.");
        foreach (string pattern in (ReadOnlySpan<string>)["pytorch_model*.bin*", "*.pth", "*.pt", "*.gguf", "*.h5"])
        {
            if (Directory.EnumerateFiles(folder, pattern).FirstOrDefault() is { } other)
                return new CheckpointException($"{folder}: expected {SingleFile} or {IndexFile}, received only {Path.GetFileName(other)}; convert the weights to safetensors "
                    + "(in Python: save_pretrained(folder, safe_serialization=True)).");
        }
        return new CheckpointException($"{folder}: expected {SingleFile} or {IndexFile}, but the folder has neither; check that this is a model folder.");
    }
}
