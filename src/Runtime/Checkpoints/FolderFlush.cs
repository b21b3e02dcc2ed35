using System.Runtime.InteropServices;

namespace Bellman.Runtime.Checkpoints;

/// <summary>
/// Flushes a folder's list of names to the disk. A file that is flushed and renamed may still lose its new name in a power
/// cut unless its folder is flushed too; .NET cannot open a folder, hence three calls to the C library.
/// </summary>
internal static class FolderFlush
{
    private const int ReadOnly = 0;

    /// <summary>Flushes a folder. Some file systems cannot; the rename is then as durable as they make it, which is no error.</summary>
    public static void Flush(string folder)
    {
        int handle = Open(folder, ReadOnly);
        if (handle < 0) return;
        _ = Synchronize(handle);
        _ = Close(handle);
    }

    [DllImport("libc", EntryPoint = "open", CharSet = CharSet.Ansi, BestFitMapping = false, ThrowOnUnmappableChar = false)]
    private static extern int Open([MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags);

    [DllImport("libc", EntryPoint = "fsync")]
    private static extern int Synchronize(int handle);

    [DllImport("libc", EntryPoint = "close")]
    private static extern int Close(int handle);
}
