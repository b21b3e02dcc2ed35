using System.Runtime.InteropServices;
using Bellman.Kernels;
using static Bellman.Runtime.Checkpoints.SafetensorsTypes;

namespace Bellman.Runtime.Checkpoints;

/// <summary>
/// One tensor to be written: its name, type and shape, and where its elements come from. Elements are asked for in pieces while
/// the file is written, so that a large model is never copied whole.
/// </summary>
public sealed class SafetensorsTensor
{
    /// <summary>Elements converted at a time: 1 MiB of floats.</summary>
    private const int Chunk = 1 << 18;

    private readonly Action<Stream> _write;

    /// <summary>Reads one row of a matrix.</summary>
    internal delegate void RowReader(int row, Span<float> target);

    private SafetensorsTensor(string name, string type, IReadOnlyList<long> shape, long length, Action<Stream> write)
    {
        if (name.Length == 0 || name == SafetensorsHeader.Metadata)
            throw new CheckpointException($"Saving tensors: {Quote(name)} cannot name a tensor; choose another name.");
        long elements = 1;
        foreach (long size in shape)
        {
            if (size < 0 || (size > 0 && elements > long.MaxValue / 8 / size))
                throw new CheckpointException($"Saving tensor {Quote(name)}: expected sizes of 0 or more and fewer than 2^60 elements, received {Describe(shape)}; correct the shape.");
            elements *= size;
        }
        if (elements != length)
            throw new CheckpointException($"Saving tensor {Quote(name)}: shape {Describe(shape)} has {elements} elements, received {length}; correct the shape.");
        (Name, Type, Shape, Length, _write) = (name, type, [.. shape], length, write);
    }

    /// <summary>Name, such as "model.norm.weight".</summary>
    public string Name { get; }

    /// <summary>Element type in the file: "F32", "BF16", "I32" or "I64".</summary>
    public string Type { get; }

    /// <summary>Sizes, outermost first.</summary>
    public IReadOnlyList<long> Shape { get; }

    /// <summary>Number of elements.</summary>
    public long Length { get; }

    /// <summary>Size in the file, in bytes.</summary>
    public long Bytes => Length * Size(Type);

    /// <summary>Floats, stored as F32 or rounded to BF16.</summary>
    /// <exception cref="CheckpointException">Shape and length differ, or the stored type is neither F32 nor BF16.</exception>
    public static SafetensorsTensor Floats(string name, IReadOnlyList<long> shape, ReadOnlyMemory<float> values, DType stored = DType.F32) =>
        new(name, FloatName(name, stored), shape, values.Length, stream =>
        {
            var narrow = new BFloat16[stored == DType.BF16 ? Math.Min(Chunk, values.Length) : 0];
            for (int done = 0; done < values.Length; done += Chunk)
                WriteFloats(stream, values.Span.Slice(done, Math.Min(Chunk, values.Length - done)), stored, narrow);
        });

    /// <summary>32-bit integers, stored as I32.</summary>
    /// <exception cref="CheckpointException">Shape and length differ.</exception>
    public static SafetensorsTensor Integers(string name, IReadOnlyList<long> shape, ReadOnlyMemory<int> values) =>
        new(name, I32, shape, values.Length, stream => WriteRaw(stream, values.Span));

    /// <summary>64-bit integers, stored as I64.</summary>
    /// <exception cref="CheckpointException">Shape and length differ.</exception>
    public static SafetensorsTensor Integers(string name, IReadOnlyList<long> shape, ReadOnlyMemory<long> values) =>
        new(name, I64, shape, values.Length, stream => WriteRaw(stream, values.Span));

    /// <summary>
    /// A tensor on any device, downloaded in pieces. F32 and BF16 are stored as <paramref name="stored"/> says, I32 as it is. The
    /// tensor must keep its storage until the file is written.
    /// </summary>
    /// <exception cref="CheckpointException">Shape and length differ, or the types do not go together.</exception>
    public static SafetensorsTensor From(string name, IReadOnlyList<long> shape, Tensor tensor, DType stored)
    {
        string type = tensor.Type == DType.I32 && stored == DType.I32 ? I32 : FloatName(name, stored);
        if ((tensor.Type == DType.I32) != (stored == DType.I32))
            throw new CheckpointException($"Saving tensor {Quote(name)}: {tensor.Type} cannot be stored as {stored}; choose a type of the same kind.");
        return new(name, type, shape, tensor.Length, stream =>
        {
            if (tensor.Length > 0) Download(stream, tensor, stored);
        });
    }

    /// <summary>A matrix whose rows are read one by one, stored as F32 or rounded to BF16.</summary>
    /// <param name="name">Name.</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="columns">Length of a row.</param>
    /// <param name="read">Fills a buffer with the row of a number.</param>
    /// <param name="stored">F32 or BF16.</param>
    /// <exception cref="CheckpointException">The stored type is neither F32 nor BF16.</exception>
    internal static SafetensorsTensor Rows(string name, int rows, int columns, RowReader read, DType stored) =>
        new(name, FloatName(name, stored), [rows, columns], (long)rows * columns, stream =>
        {
            var row = new float[columns];
            var narrow = new BFloat16[stored == DType.BF16 ? columns : 0];
            for (int i = 0; i < rows; i++)
            {
                read(i, row);
                WriteFloats(stream, row, stored, narrow);
            }
        });

    /// <summary>Writes the elements in the file's form.</summary>
    internal void Write(Stream stream) => _write(stream);

    private static void Download(Stream stream, Tensor tensor, DType stored)
    {
        // Views are cut by whole rows; a flat view lets pieces end anywhere. Lengths beyond an int keep their rows.
        if (tensor.Length <= int.MaxValue) tensor = tensor.Reshape((int)tensor.Length, 1);
        int rows = Math.Max(1, Chunk / tensor.Columns);
        var narrow = new BFloat16[tensor.Type == DType.BF16 || stored == DType.BF16 ? rows * tensor.Columns : 0];
        var floats = new float[tensor.Type == DType.F32 || (tensor.Type == DType.BF16 && stored == DType.F32) ? rows * tensor.Columns : 0];
        var integers = new int[tensor.Type == DType.I32 ? rows * tensor.Columns : 0];
        for (int row = 0; row < tensor.Rows; row += rows)
        {
            Tensor part = tensor.Slice(row, Math.Min(rows, tensor.Rows - row));
            int count = (int)part.Length;
            switch (tensor.Type)
            {
                case DType.F32:
                    part.Device.Download(part, floats.AsSpan(0, count));
                    WriteFloats(stream, floats.AsSpan(0, count), stored, narrow);
                    break;
                case DType.BF16:
                    part.Device.Download(part, narrow.AsSpan(0, count));
                    if (stored == DType.BF16)
                    {
                        WriteRaw<BFloat16>(stream, narrow.AsSpan(0, count));
                        break;
                    }
                    FloatConversion.ToFloat(narrow.AsSpan(0, count), floats.AsSpan(0, count));
                    WriteRaw<float>(stream, floats.AsSpan(0, count));
                    break;
                default:
                    part.Device.Download(part, integers.AsSpan(0, count));
                    WriteRaw<int>(stream, integers.AsSpan(0, count));
                    break;
            }
        }
    }

    private static void WriteFloats(Stream stream, ReadOnlySpan<float> values, DType stored, BFloat16[] narrow)
    {
        if (stored == DType.F32)
        {
            WriteRaw(stream, values);
            return;
        }
        FloatConversion.ToBFloat16(values, narrow.AsSpan(0, values.Length));
        WriteRaw<BFloat16>(stream, narrow.AsSpan(0, values.Length));
    }

    private static void WriteRaw<T>(Stream stream, ReadOnlySpan<T> values) where T : unmanaged
    {
        for (int done = 0; done < values.Length; done += Chunk)
            stream.Write(MemoryMarshal.AsBytes(values.Slice(done, Math.Min(Chunk, values.Length - done))));
    }

    private static string FloatName(string name, DType stored) => stored switch
    {
        DType.F32 => F32,
        DType.BF16 => BF16,
        _ => throw new CheckpointException($"Saving tensor {Quote(name)}: weights are stored as F32 or BF16, received {stored}; choose one of the two."),
    };
}
