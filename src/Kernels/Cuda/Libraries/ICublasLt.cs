namespace Bellman.Kernels.Cuda.Libraries;

/// <summary>
/// The functions of cuBLASLt that Bellman calls, each with its own name and status (0 for success). Tests put a fake in its place.
/// Meanings and numbers are those of cublasLt.h, CUDA 11.4 and later.
/// </summary>
internal unsafe interface ICublasLt
{
    nuint GetVersion();
    int Create(nint* handle);
    int Destroy(nint handle);
    byte* GetStatusString(int status);
    int MatmulDescCreate(nint* description, int computeType, int scaleType);
    int MatmulDescDestroy(nint description);
    int MatmulDescSetAttribute(nint description, int attribute, void* value, nuint bytes);
    int MatrixLayoutCreate(nint* layout, int type, ulong rows, ulong columns, long leading);
    int MatrixLayoutDestroy(nint layout);
    int MatmulPreferenceCreate(nint* preference);
    int MatmulPreferenceDestroy(nint preference);
    int MatmulPreferenceSetAttribute(nint preference, int attribute, void* value, nuint bytes);
    int MatmulAlgoGetHeuristic(nint handle, nint description, nint a, nint b, nint c, nint d, nint preference, int wanted, MatmulHeuristic* results, int* found);
    int Matmul(nint handle, nint description, void* alpha, nint a, nint layoutA, nint b, nint layoutB, void* beta, nint c, nint layoutC, nint d, nint layoutD, void* algorithm, nint workspace, nuint workspaceBytes, nint stream);
}

/// <summary>cublasLtMatmulHeuristicResult_t.</summary>
internal unsafe struct MatmulHeuristic
{
    /// <summary>The algorithm, opaque.</summary>
    public fixed ulong Algorithm[8];

    /// <summary>Bytes of workspace that it needs.</summary>
    public nuint WorkspaceBytes;

    /// <summary>0 where it can be used.</summary>
    public int Status;

    /// <summary>Waves of blocks.</summary>
    public float Waves;

    /// <summary>Reserved by the library.</summary>
    public fixed int Reserved[4];
}
