using System.Text;
using Bellman.Kernels;

namespace Bellman.Runtime.Checkpoints;

/// <summary>
/// Writes files whole or not at all: into a temporary file in the same folder, flushed to the disk, then renamed over the
/// target. A reader never sees half a file, and after a failure (disk full, no permission, cancelled) the old file is still
/// there and the temporary one is gone.
/// </summary>
public static class AtomicFile
{
    /// <summary>Writes UTF-8 text without a byte order mark.</summary>
    /// <exception cref="CheckpointException">The folder is missing or the disk refuses.</exception>
    public static void WriteText(string path, string text) => WriteBytes(path, Encoding.UTF8.GetBytes(text));

    /// <summary>Writes bytes.</summary>
    /// <exception cref="CheckpointException">The folder is missing or the disk refuses.</exception>
    public static void WriteBytes(string path, ReadOnlySpan<byte> bytes)
    {
        // A span cannot be captured by the callback.
        byte[] copy = bytes.ToArray();
        Write(path, stream => stream.Write(copy));
    }

    /// <summary>Lets the caller write a stream, which becomes the file once the callback has returned.</summary>
    /// <exception cref="CheckpointException">The folder is missing or the disk refuses. Errors of the callback other than those of input and output pass unchanged.</exception>
    public static void Write(string path, Action<Stream> write) => Write(path, write, OpenTemporary);

    /// <summary>The same with a given way to open the temporary file; tests put a failing stream there.</summary>
    internal static void Write(string path, Action<Stream> write, Func<string, Stream> open)
    {
        string full = TargetOf(path);
        string temporary = TemporarySibling(full);
        bool renamed = false;
        try
        {
            using (Stream stream = open(temporary))
            {
                write(stream);
                if (stream is FileStream file) file.Flush(flushToDisk: true);
                else stream.Flush();
            }
            File.Move(temporary, full, overwrite: true);
            renamed = true;
            FlushFolder(Path.GetDirectoryName(full)!);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or NotSupportedException || IsTooLarge(error))
        {
            throw new CheckpointException($"{path}: cannot be written: {JsonFields.OneLine(error).TrimEnd('.')}; {Remedy(full)}. {(renamed ? "" : "Nothing was changed.")}".TrimEnd(), error);
        }
        finally
        {
            if (!renamed) DeleteQuietly(temporary);
        }
    }

    /// <summary>Finds out before long work whether a file could be written: tries a small one beside it.</summary>
    /// <exception cref="CheckpointException">The path is a folder, the folder is missing, or the disk refuses.</exception>
    public static void CheckWritable(string path)
    {
        string full = TargetOf(path);
        string temporary = TemporarySibling(full);
        try
        {
            using Stream stream = OpenTemporary(temporary);
            stream.WriteByte(0);
            stream.Flush();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new CheckpointException($"{path}: cannot be written: {JsonFields.OneLine(error).TrimEnd('.')}; {Remedy(full)}.", error);
        }
        finally
        {
            DeleteQuietly(temporary);
        }
    }

    /// <summary>The full path of a file to write; an empty or impossible path is an error of the caller's input.</summary>
    internal static string FullPath(string path)
    {
        if (string.IsNullOrWhiteSpace(path) || path.Contains('\0'))
            throw new CheckpointException("Writing a file: expected a path, received an empty or invalid text; name the file to write.");
        return Path.GetFullPath(path);
    }

    /// <summary>The full path, which is not a folder's: a rename over one would fail only after the work.</summary>
    private static string TargetOf(string path)
    {
        string full = FullPath(path);
        if (Directory.Exists(full)) throw new CheckpointException($"{path}: expected a file to write, but there is a folder of this name; give another name.");
        return full;
    }

    /// <summary>A name beside the target that no other process or thread uses.</summary>
    internal static string TemporarySibling(string full) =>
        Path.Combine(Path.GetDirectoryName(full) ?? full, $".{Path.GetFileName(full)}.{Guid.NewGuid():N}.tmp");

    /// <summary>Makes a rename in this folder survive a power cut, where the system has a way to ask for it.</summary>
    internal static void FlushFolder(string folder)
    {
        // Windows has no flush for folders and makes renames durable through its journal.
        if (OperatingSystem.IsWindows()) return;
        FolderFlush.Flush(folder);
    }

    // A file beyond the largest size that the disk or the process is allowed: .NET has no exception of its own for it.
    private static bool IsTooLarge(Exception error) => error is ArgumentOutOfRangeException && error.Message.StartsWith("Specified file length was too large", StringComparison.Ordinal);

    private static FileStream OpenTemporary(string path) => new(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 1 << 16);

    private static string Remedy(string full)
    {
        string? folder = Path.GetDirectoryName(full);
        if (folder is not null && !Directory.Exists(folder)) return $"create the folder {folder} first";
        return "check free disk space and permissions";
    }

    private static void DeleteQuietly(string path)
    {
        // The error that brought us here matters more than a leftover temporary file.
        try { File.Delete(path); }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or NotSupportedException) { }
    }
}
