namespace Bellman.Runtime.Checkpoints;

/// <summary>
/// Makes folders whole or not at all: the content is built in a hidden folder beside the target, flushed to the disk, and then
/// renamed. A reader never sees a half-written checkpoint. One process at a time may write a given folder.
/// </summary>
public static class AtomicFolder
{
    private const string Unfinished = ".tmp", Replaced = ".old";

    /// <summary>Builds a folder. The parent is created where it is missing.</summary>
    /// <param name="path">The folder to make.</param>
    /// <param name="build">Fills the temporary folder, whose path it receives.</param>
    /// <param name="replace">Whether a folder that is already there and not empty gives way; otherwise it is an error.</param>
    /// <exception cref="CheckpointException">
    /// The target exists, or the disk refuses; the old folder is then still there and the temporary one is gone. Other errors of
    /// <paramref name="build"/> pass unchanged, with the same cleaning up.
    /// </exception>
    public static void Write(string path, Action<string> build, bool replace = false)
    {
        string full = Path.TrimEndingDirectorySeparator(AtomicFile.FullPath(path));
        string parent = Path.GetDirectoryName(full)
            ?? throw new CheckpointException($"{path}: the root of a disk cannot be written as a folder; name a folder inside it.");
        string? temporary = null;
        try
        {
            Directory.CreateDirectory(parent);
            Recover(full);
            if (File.Exists(full)) throw new CheckpointException($"{path}: expected a folder to write, but there is a file of this name; remove it or choose another name.");
            if (!replace && Directory.Exists(full) && Directory.EnumerateFileSystemEntries(full).Any())
                throw new CheckpointException($"{path}: the folder exists already and is not empty; remove it or choose another name.");
            temporary = Sibling(full, Unfinished);
            Directory.CreateDirectory(temporary);
            build(temporary);
            Flush(temporary);
            Exchange(temporary, full);
            temporary = null;
            AtomicFile.FlushFolder(parent);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new CheckpointException($"{path}: the folder cannot be written: {JsonFields.OneLine(error)}; check free disk space and permissions.", error);
        }
        finally
        {
            if (temporary is not null) DeleteQuietly(temporary);
        }
    }

    /// <summary>
    /// Cleans up after a process that was killed while it wrote this folder: a folder that had just been moved aside comes back,
    /// unfinished ones are deleted. <see cref="Write"/> does this first; call it before reading a folder that may have been cut off.
    /// </summary>
    /// <exception cref="CheckpointException">The disk refuses.</exception>
    public static void Recover(string path)
    {
        string full = Path.TrimEndingDirectorySeparator(AtomicFile.FullPath(path));
        string? parent = Path.GetDirectoryName(full);
        if (parent is null || !Directory.Exists(parent)) return;
        try
        {
            foreach (string old in Leftovers(parent, full, Replaced))
            {
                if (Directory.Exists(full)) Directory.Delete(old, recursive: true);
                else Directory.Move(old, full);
            }
            foreach (string unfinished in Leftovers(parent, full, Unfinished)) Directory.Delete(unfinished, recursive: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"{path}: leftovers of an interrupted save cannot be cleaned up: {JsonFields.OneLine(error)}; delete the hidden folders beside it by hand.", error);
        }
    }

    private static void Exchange(string temporary, string full)
    {
        if (!Directory.Exists(full))
        {
            Directory.Move(temporary, full);
            return;
        }
        string aside = Sibling(full, Replaced);
        Directory.Move(full, aside);
        try
        {
            Directory.Move(temporary, full);
        }
        catch
        {
            Directory.Move(aside, full);
            throw;
        }
        // The new folder stands; an old one that cannot be deleted goes with the next write.
        DeleteQuietly(aside);
    }

    private static void Flush(string folder)
    {
        // Windows flushes only what is open for writing; elsewhere reading is enough, and copied files may be read-only.
        FileAccess access = OperatingSystem.IsWindows() ? FileAccess.ReadWrite : FileAccess.Read;
        foreach (string file in Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories))
        {
            using Microsoft.Win32.SafeHandles.SafeFileHandle handle = File.OpenHandle(file, FileMode.Open, access, FileShare.ReadWrite);
            RandomAccess.FlushToDisk(handle);
        }
        foreach (string inner in Directory.EnumerateDirectories(folder, "*", SearchOption.AllDirectories)) AtomicFile.FlushFolder(inner);
        AtomicFile.FlushFolder(folder);
    }

    private static string Sibling(string full, string ending) =>
        Path.Combine(Path.GetDirectoryName(full)!, $".{Path.GetFileName(full)}.{Guid.NewGuid():N}{ending}");

    /// <summary>Folders that <see cref="Sibling"/> named for this target; a target whose name begins alike has a longer middle part.</summary>
    private static IEnumerable<string> Leftovers(string parent, string full, string ending)
    {
        string start = $".{Path.GetFileName(full)}.";
        foreach (string path in Directory.GetDirectories(parent, start + "*" + ending))
        {
            ReadOnlySpan<char> name = Path.GetFileName(path.AsSpan());
            if (name.StartsWith(start, StringComparison.Ordinal) && Guid.TryParseExact(name[start.Length..^ending.Length], "N", out _)) yield return path;
        }
    }

    private static void DeleteQuietly(string folder)
    {
        // The error that brought us here, or the success, matters more than a leftover.
        try { Directory.Delete(folder, recursive: true); }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException) { }
    }
}
