%%% What the program that is handed to the kernel says of calls, by a machine of a few lines that runs it.
-module(py_seccomp_tests).

-include_lib("eunit/include/eunit.hrl").

-define(X86_64, "x86_64-pc-linux-gnu").
-define(AARCH64, "aarch64-unknown-linux-gnu").

architecture(?X86_64) -> 16#c000003e;
architecture(?AARCH64) -> 16#c00000b7.

judged(System, Number, Args) -> judged(System, architecture(System), Number, Args).

judged(System, Architecture, Number, Args) ->
    {ok, Filter} = py_seccomp:filter(System),
    Padded = lists:sublist(Args ++ [0, 0, 0, 0, 0, 0], 6),
    Data = iolist_to_binary([<<Number:32/little, Architecture:32/little, 0:64>> | [<<Arg:64/little>> || Arg <- Padded]]),
    run([{C, T, F, K} || <<C:16/little, T, F, K:32/little>> <= Filter], 0, Data).

run([{16#06, _, _, 16#7fff0000} | _], _, _) -> allow;
run([{16#06, _, _, K} | _], _, _) -> {errno, K band 16#ffff};
run([{16#20, _, _, K} | Rest], _, Data) ->
    <<_:K/binary, A:32/little, _/binary>> = Data,
    run(Rest, A, Data);
run([{Code, T, F, K} | Rest], A, Data) ->
    Holds =
        case Code of
            16#15 -> A =:= K;
            16#35 -> A >= K;
            16#45 -> A band K =/= 0
        end,
    run(lists:nthtail(if Holds -> T; true -> F end, Rest), A, Data).

calls_test_() ->
    Huge = 1 bsl 40,
    [
        {lists:flatten(io_lib:format("~ts ~w ~w", [System, Number, Args])), ?_assertEqual(Expected, judged(System, Number, Args))}
     || {Expected, Both, Args} <- [
            %% read, write, mmap, futex, memfd_create, shmget, exit_group
            {allow, {0, 63}, []}, {allow, {1, 64}, []}, {allow, {9, 222}, []}, {allow, {202, 98}, []}, {allow, {319, 279}, []},
            {allow, {29, 194}, []}, {allow, {231, 94}, []},
            %% io_uring_setup, _enter, _register; clone3; openat2; memfd_secret
            {{errno, 38}, {425, 425}, []}, {{errno, 38}, {426, 426}, []}, {{errno, 38}, {427, 427}, []},
            {{errno, 38}, {435, 435}, []}, {{errno, 38}, {437, 437}, []}, {{errno, 38}, {447, 447}, []},
            %% add_key, request_key, keyctl, bpf, perf_event_open, userfaultfd, syslog, setns
            {{errno, 1}, {248, 217}, []}, {{errno, 1}, {249, 218}, []}, {{errno, 1}, {250, 219}, []}, {{errno, 1}, {321, 280}, []},
            {{errno, 1}, {298, 241}, []}, {{errno, 1}, {323, 282}, []}, {{errno, 1}, {103, 116}, []}, {{errno, 1}, {308, 268}, []},
            %% clone: a thread, a fork, a user namespace; unshare: files, users, mounts
            {allow, {56, 220}, [16#3d0f00]}, {allow, {56, 220}, [17]}, {{errno, 1}, {56, 220}, [16#10000000 bor 17]},
            {allow, {272, 97}, [16#400]}, {{errno, 1}, {272, 97}, [16#10000000]}, {{errno, 1}, {272, 97}, [16#20000]},
            %% socket: unix, inet, inet6, netlink; VSOCK, packet, ALG, bluetooth; socketpair
            {allow, {41, 198}, [1]}, {allow, {41, 198}, [2]}, {allow, {41, 198}, [10]}, {allow, {41, 198}, [16]},
            {{errno, 97}, {41, 198}, [40]}, {{errno, 97}, {41, 198}, [17]}, {{errno, 97}, {41, 198}, [38]},
            {{errno, 97}, {41, 198}, [31]}, {{errno, 97}, {41, 198}, [Huge bor 40]}, {allow, {53, 199}, [1]},
            %% fchmod, fchmodat, fchmodat2, mknodat
            {allow, {91, 52}, [3, 8#755]}, {{errno, 1}, {91, 52}, [3, 8#4755]}, {{errno, 1}, {91, 52}, [3, 8#2755]},
            {allow, {91, 52}, [3, 8#1777]}, {{errno, 1}, {268, 53}, [3, 0, 8#4755]}, {{errno, 1}, {452, 452}, [3, 0, 8#4755]},
            {allow, {268, 53}, [3, 8#4755, 8#755]}, {{errno, 1}, {259, 33}, [3, 0, 8#4755]},
            %% openat: a mode counts where a file is made
            {allow, {257, 56}, [3, 0, 8#2000000, 8#4755]}, {{errno, 1}, {257, 56}, [3, 0, 8#102, 8#4755]},
            {{errno, 1}, {257, 56}, [3, 0, 8#20200002, 8#4755]}, {allow, {257, 56}, [3, 0, 8#102, 8#644]}
        ],
        {System, Number} <- [{?X86_64, element(1, Both)}, {?AARCH64, element(2, Both)}]
    ] ++
        [
            ?_assertEqual(Expected, judged(?X86_64, Number, Args))
         || {Expected, Number, Args} <- [
                %% chmod, creat, open, mknod, modify_ldt, which the other one does not have
                {{errno, 1}, 90, [0, 8#4755]}, {{errno, 1}, 85, [0, 8#4755]}, {{errno, 1}, 2, [0, 8#100, 8#2755]},
                {allow, 2, [0, 0, 8#2755]}, {{errno, 1}, 133, [0, 8#4755]}, {{errno, 1}, 154, []},
                {{errno, 38}, 16#40000000 bor 41, [1]}
            ]
        ].

%% A program of another architecture has other numbers.
what_is_called_in_another_way_is_refused_test_() ->
    [
        ?_assertEqual({errno, 38}, judged(System, Architecture, 0, []))
     || System <- [?X86_64, ?AARCH64], Architecture <- [16#40000003, 16#40000028, 0]
    ].

other_architectures_have_none_test() -> ?assertEqual(none, py_seccomp:filter("riscv64-unknown-linux-gnu")).
