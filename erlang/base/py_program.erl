%%% @doc Runs a program to its end, for what it prints. Knows nothing of Python.
%%% @private
-module(py_program).

-export([run/3]).
-export_type([status/0]).

-type status() :: non_neg_integer() | timeout | badarg | system_limit | file:posix().
%% The exit status; `timeout' when it was given up; else why it could not be started.

-define(MOST_BYTES, (4 bsl 20)).

%% @doc What a program prints on both outputs in at most `Timeout' milliseconds, up to 4 MiB; `Options' are those of its port.
-spec run(file:filename_all(), Options :: [term()], Timeout :: pos_integer()) -> {status(), binary()}.
run(Program, Options, Timeout) ->
    try open_port({spawn_executable, Program}, [stderr_to_stdout, exit_status, binary, hide | Options]) of
        Port -> collect(Port, py_deadline:after_ms(Timeout), <<>>)
    catch
        error:Reason -> {Reason, iolist_to_binary(io_lib:format("~ts: ~p", [Program, Reason]))}
    end.

%% One that prints without end is given up, too: whoever asks wants some lines.
collect(Port, Deadline, Acc) when byte_size(Acc) =< ?MOST_BYTES ->
    receive
        {Port, {exit_status, Status}} -> {Status, Acc};
        {Port, {data, Data}} ->
            case py_deadline:is_over(Deadline) of
                false -> collect(Port, Deadline, <<Acc/binary, Data/binary>>);
                true -> given_up(Port, Acc)
            end
    after py_deadline:left_ms(Deadline) -> given_up(Port, Acc)
    end;
collect(Port, _Deadline, Acc) ->
    given_up(Port, binary:part(Acc, 0, ?MOST_BYTES)).

%% One that has ended by itself just now has its own status. Else it is ended: one that waits for nothing of the port's, or for
%% whom a broken pipe is no matter, would stay.
given_up(Port, Acc) ->
    receive
        {Port, {exit_status, Status}} -> {Status, Acc}
    after 0 ->
        _ =
            case erlang:port_info(Port, os_pid) of
                {os_pid, OsPid} -> os:cmd(io_lib:format("kill -s KILL -- -~b || kill -s KILL ~b", [OsPid, OsPid]));
                undefined -> ""
            end,
        catch port_close(Port),
        flush(Port),
        {timeout, Acc}
    end.

%% What it has sent before is nobody's.
flush(Port) ->
    receive
        {Port, _} -> flush(Port)
    after 0 -> ok
    end.
