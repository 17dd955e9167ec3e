%%% @doc Runs a program to its end, for what it prints. Knows nothing of Python.
-module(py_program).

-export([run/3]).
-export_type([status/0]).

-type status() :: non_neg_integer() | timeout | badarg | system_limit | file:posix().
%% The exit status; `timeout' when it was given up; else why it could not be started.

%% @doc What a program prints on both outputs in at most `Timeout' milliseconds; `Options' are those of its port.
-spec run(file:filename_all(), Options :: [term()], Timeout :: pos_integer()) -> {status(), binary()}.
run(Program, Options, Timeout) ->
    try open_port({spawn_executable, Program}, [stderr_to_stdout, exit_status, binary, hide | Options]) of
        Port -> collect(Port, py_deadline:after_ms(Timeout), <<>>)
    catch
        error:Reason -> {Reason, iolist_to_binary(io_lib:format("~ts: ~p", [Program, Reason]))}
    end.

collect(Port, Deadline, Acc) ->
    receive
        {Port, {data, Data}} -> collect(Port, Deadline, <<Acc/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Status, Acc}
    after py_deadline:left_ms(Deadline) ->
        catch port_close(Port),
        receive
            {Port, {exit_status, Status}} -> {Status, Acc}
        after 0 -> {timeout, Acc}
        end
    end.
