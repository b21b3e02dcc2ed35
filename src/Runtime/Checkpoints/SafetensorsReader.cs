using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Bellman.Kernels;
using Microsoft.Win32.SafeHandles;
using static Bellman.Runtime.Checkpoints.SafetensorsTypes;

namespace Bellman.Runtime.Checkpoints;

/// <summary>
/// One safetensors file: the header is read and checked in full when it is opened, tensors are read on demand straight into the
/// caller's memory. Reading from several threads at once is allowed.
/// </summary>
public sealed class SafetensorsReader : IDisposable
{
    /// <summary>Elements converted at a time: 1 MiB of floats stays in the cache.</summary>
    private const int Chunk = 1 << 18;

    private readonly SafeFileHandle _file;
    private readonly long _data;
    private readonly Dictionary<string, SafetensorsEntry> _entries;
    private readonly List<string> _names;

    private SafetensorsReader(string path, SafeFileHandle file, long data, List<SafetensorsEntry> entries, Dictionary<string, string> metadata)
    {
        (Path, _file, _data, Metadata) = (path, file, data, metadata);
        _entries = new Dictionary<string, SafetensorsEntry>(entries.Count);
        _names = new List<string>(entries.Count);
        foreach (SafetensorsEntry entry in entries)
        {
            _entries.Add(entry.Name, entry);
            _names.Add(entry.Name);
        }
    }

    /// <summary>The file as it was named.</summary>
    public string Path { get; }

    /// <summary>All tensors, in the order of their data.</summary>
    public IReadOnlyList<string> Names => _names;

    /// <summary>The texts of the header's <c>__metadata__</c>; often "format" = "pt".</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file and checks its header.</summary>
    /// <exception cref="CheckpointException">The file is missing, unreadable, or breaks a rule of the format.</exception>
    public static SafetensorsReader Open(string path)
    {
        SafeFileHandle? file = null;
        try
        {
            if (!File.Exists(path)) throw new CheckpointException($"{path}: the file is not there; check the model folder.");
            file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read, FileOptions.RandomAccess);
            long length = RandomAccess.GetLength(file);
            if (length < 8)
                throw new CheckpointException($"{path}: expected a safetensors file, which begins with 8 bytes of header length, received {length} bytes; download or save it again.");
            Span<byte> prefix = stackalloc byte[8];
            ReadExactly(file, 0, prefix, path);
            ulong header = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
            if (header > (ulong)(length - 8) || header > SafetensorsHeader.LargestHeader)
                throw new CheckpointException($"{path}: expected a header of at most {Math.Min(length - 8, SafetensorsHeader.LargestHeader)} bytes, received a header length of {header}; "
                    + "the file is truncated or no safetensors file; download or save it again.");
            var json = new byte[(int)header];
            ReadExactly(file, 8, json, path);
            (List<SafetensorsEntry> entries, Dictionary<string, string> metadata) = SafetensorsHeader.Parse(json, length - 8 - (long)header, path);
            return new SafetensorsReader(path, file, 8 + (long)header, entries, metadata);
        }
        catch (Exception error)
        {
            file?.Dispose();
            if (error is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
                throw new CheckpointException($"{path}: cannot be read: {JsonFields.OneLine(error)}; check the path and its permissions.", error);
            throw;
        }
    }

    /// <summary>Whether a tensor is there.</summary>
    public bool Contains(string name) => _entries.ContainsKey(name);

    /// <summary>Type and shape of a tensor.</summary>
    /// <exception cref="CheckpointException">There is no such tensor.</exception>
    public SafetensorsEntry Entry(string name) => _entries.TryGetValue(name, out SafetensorsEntry? entry) ? entry
        : throw new CheckpointException($"{Path}: expected a tensor {Quote(name)}, but none of the {_entries.Count} tensors has this name; check that the file belongs to this model.");

    /// <summary>Reads a whole tensor of type F32, BF16, F16 or F64 as floats, row-major.</summary>
    /// <exception cref="CheckpointException">No such tensor, another length than <paramref name="target"/>, an integer type, or the disk fails.</exception>
    public void ReadFloats(string name, Span<float> target)
    {
        CheckLength(Entry(name), target.Length);
        ReadFloats(name, 0, target);
    }

    /// <summary>Reads part of a tensor, from element <paramref name="start"/> on, as floats.</summary>
    /// <exception cref="CheckpointException">No such tensor, a range outside it, an integer type, or the disk fails.</exception>
    public void ReadFloats(string name, long start, Span<float> target)
    {
        SafetensorsEntry entry = Entry(name);
        CheckRange(entry, start, target.Length);
        switch (entry.Type)
        {
            case F32:
                // A span of bytes cannot describe more than 2 GiB.
                for (int done = 0; done < target.Length; done += Chunk)
                    ReadElements(entry, start + done, target.Slice(done, Math.Min(Chunk, target.Length - done)));
                break;
            case BF16: ReadConverted<BFloat16>(entry, start, target, FloatConversion.ToFloat); break;
            case F16: ReadConverted<Half>(entry, start, target, FloatConversion.ToFloat); break;
            case F64: ReadConverted<double>(entry, start, target, FloatConversion.ToFloat); break;
            default: throw new CheckpointException($"{Path}: tensor {Quote(name)}: expected F32, BF16, F16 or F64, received {entry.Type}; convert the tensor.");
        }
    }

    /// <summary>Reads part of a tensor as bfloat16: the stored bits where the file has BF16, else rounded from float.</summary>
    /// <exception cref="CheckpointException">No such tensor, a range outside it, an integer type, or the disk fails.</exception>
    public void ReadBFloat16(string name, long start, Span<BFloat16> target)
    {
        SafetensorsEntry entry = Entry(name);
        CheckRange(entry, start, target.Length);
        float[] floats = entry.Type == BF16 ? [] : ArrayPool<float>.Shared.Rent(Math.Min(Chunk, target.Length));
        for (int done = 0; done < target.Length; done += Chunk)
        {
            Span<BFloat16> part = target.Slice(done, Math.Min(Chunk, target.Length - done));
            if (entry.Type == BF16)
            {
                ReadElements(entry, start + done, part);
                continue;
            }
            ReadFloats(name, start + done, floats.AsSpan(0, part.Length));
            FloatConversion.ToBFloat16(floats.AsSpan(0, part.Length), part);
        }
        if (floats.Length > 0) ArrayPool<float>.Shared.Return(floats);
    }

    /// <summary>Reads a whole tensor of type I32 or I64 as 64-bit integers.</summary>
    /// <exception cref="CheckpointException">No such tensor, another length than <paramref name="target"/>, another type, or the disk fails.</exception>
    public void ReadIntegers(string name, Span<long> target)
    {
        SafetensorsEntry entry = Entry(name);
        CheckLength(entry, target.Length);
        if (entry.Type == I64)
        {
            ReadElements(entry, 0, target);
            return;
        }
        if (entry.Type != I32) throw new CheckpointException($"{Path}: tensor {Quote(name)}: expected I32 or I64, received {entry.Type}; convert the tensor.");
        var narrow = new int[target.Length];
        ReadElements<int>(entry, 0, narrow);
        for (int i = 0; i < narrow.Length; i++) target[i] = narrow[i];
    }

    /// <summary>Reads the stored bytes of a whole tensor (little-endian).</summary>
    /// <exception cref="CheckpointException">No such tensor, another size than <paramref name="target"/>, or the disk fails.</exception>
    public void ReadRaw(string name, Span<byte> target)
    {
        SafetensorsEntry entry = Entry(name);
        if (target.Length != entry.Bytes)
            throw new CheckpointException($"{Path}: tensor {Quote(name)}: expected room for {entry.Bytes} bytes ({entry}), received {target.Length}; size the buffer by the entry.");
        ReadExactly(_file, _data + entry.Begin, target, Path);
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => _file.Dispose();

    private delegate void Convert<T>(ReadOnlySpan<T> source, Span<float> target);

    private void ReadConverted<T>(SafetensorsEntry entry, long start, Span<float> target, Convert<T> convert) where T : unmanaged
    {
        T[] buffer = ArrayPool<T>.Shared.Rent(Math.Min(Chunk, target.Length));
        for (int done = 0; done < target.Length; done += Chunk)
        {
            int count = Math.Min(Chunk, target.Length - done);
            ReadElements(entry, start + done, buffer.AsSpan(0, count));
            convert(buffer.AsSpan(0, count), target.Slice(done, count));
        }
        ArrayPool<T>.Shared.Return(buffer);
    }

    /// <summary>Reads elements as they are stored; every machine .NET 10 runs on is little-endian, as the format is.</summary>
    private void ReadElements<T>(SafetensorsEntry entry, long start, Span<T> target) where T : unmanaged =>
        ReadExactly(_file, _data + entry.Begin + start * Size(entry.Type), MemoryMarshal.AsBytes(target), Path);

    private static void ReadExactly(SafeFileHandle file, long offset, Span<byte> target, string path)
    {
        try
        {
            while (target.Length > 0)
            {
                int read = RandomAccess.Read(file, target, offset);
                if (read == 0) throw new CheckpointException($"{path}: the file ended at byte {offset} while it was being read; another program changed it, read it again.");
                target = target[read..];
                offset += read;
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"{path}: cannot be read at byte {offset}: {JsonFields.OneLine(error)}; check the disk.", error);
        }
    }

    private void CheckLength(SafetensorsEntry entry, int length)
    {
        if (length != entry.Length)
            throw new CheckpointException($"{Path}: tensor {Quote(entry.Name)}: expected {entry.Length} elements ({entry}), received room for {length}; size the buffer by the entry.");
    }

    private void CheckRange(SafetensorsEntry entry, long start, int count)
    {
        if (start < 0 || start > entry.Length - count)
            throw new CheckpointException($"{Path}: tensor {Quote(entry.Name)}: elements {start}..{start + count} asked of {entry.Length} ({entry}); ask within the tensor.");
    }
}
